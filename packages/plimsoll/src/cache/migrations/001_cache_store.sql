-- The shared tier of caches. Unlogged: after a crash of the server it is empty, all versions begin at random again, and
-- no fill waits for the log.
create unlogged table plimsoll.cache_slot (
  -- the cache and `*`, a key or a tag of it
  slot text collate "C" primary key,
  version bigint not null,
  -- the latest position it was invalidated at, as text that sorts so
  floor text collate "C" not null default '',
  kept_until timestamptz not null
) with (fillfactor = 50);

create unlogged table plimsoll.cache_value (
  slot text collate "C" primary key,
  -- those it was filled with; it counts while they are the current ones
  versions text not null,
  data text not null,
  mark text collate "C" not null,
  cost_ms float8 not null,
  fresh_until timestamptz not null,
  kept_until timestamptz not null
) with (fillfactor = 50);

create unlogged table plimsoll.cache_lease (
  slot text collate "C" primary key,
  -- '' for a load that failed, which is remembered for all processes
  owner text not null,
  -- those it was given with; it ends when one of them changes
  versions text not null,
  until timestamptz not null
) with (fillfactor = 50);

create function plimsoll.cache_after(ms float8) returns timestamptz language sql volatile as $$
  select clock_timestamp() + ms * interval '1 millisecond'
$$;

-- The versions of the slots in the order asked, as text; null when one is not there.
create function plimsoll.cache_versions(slots text[]) returns text language sql stable as $$
  select case when count(s.slot) = cardinality(slots) then string_agg(s.version::text, ',' order by a.place) end
  from unnest(slots) with ordinality a (slot, place) left join plimsoll.cache_slot s using (slot)
$$;

-- The second slot is that of the key. A version that is not there is made.
create function plimsoll.cache_read(
  slots text[], fresh_version bigint, keep_ms float8, at_least text, lease_owner text, lease_ms float8, below_ms float8
) returns table (versions text, floor text, leased boolean, data text, mark text, fresh_ms float8, cost_ms float8, failed_ms float8)
language plpgsql as $$
#variable_conflict use_column
declare
  now constant timestamptz := clock_timestamp();
  kept plimsoll.cache_value;
begin
  versions := plimsoll.cache_versions(slots);
  while versions is null loop
    insert into plimsoll.cache_slot (slot, version, kept_until)
      select s, fresh_version, plimsoll.cache_after(keep_ms * 1.5) from unnest(slots) s order by s collate "C"
      on conflict do nothing;
    versions := plimsoll.cache_versions(slots);
  end loop;
  update plimsoll.cache_slot c set kept_until = plimsoll.cache_after(keep_ms * 1.5) where slot in (
    select slot from plimsoll.cache_slot where slot = any (slots) and kept_until < plimsoll.cache_after(keep_ms)
    order by slot for update skip locked);
  select coalesce(max(c.floor), '') into floor from plimsoll.cache_slot c where c.slot = any (slots);
  select * into kept from plimsoll.cache_value v where v.slot = slots[2];
  leased := false;
  failed_ms := 0;
  fresh_ms := '-infinity';
  if kept.versions = versions and kept.mark >= at_least collate "C" and kept.kept_until > now then
    data := kept.data;
    mark := kept.mark;
    cost_ms := kept.cost_ms;
    fresh_ms := extract(epoch from kept.fresh_until - now) * 1000;
  end if;
  if lease_owner is not null and fresh_ms <= below_ms then
    insert into plimsoll.cache_lease as l (slot, owner, versions, until)
      values (slots[2], lease_owner, versions, plimsoll.cache_after(lease_ms))
      on conflict (slot) do update set owner = excluded.owner, versions = excluded.versions, until = excluded.until
      where l.until <= now or l.versions <> excluded.versions;
    leased := found;
    if not leased then
      select coalesce(max(extract(epoch from l.until - now) * 1000), 0) into failed_ms
        from plimsoll.cache_lease l where l.slot = slots[2] and l.owner = '' and l.until > now;
    end if;
  end if;
  return next;
end
$$;

-- Kept when the versions are still those. An invalidation at the same moment comes before it or after it; after it, the
-- value is there and counts for nobody.
create function plimsoll.cache_fill(
  slots text[], began_with text, data text, mark text, cost_ms float8, fresh_ms float8, keep_ms float8, lease_owner text
) returns boolean language plpgsql as $$
#variable_conflict use_column
begin
  delete from plimsoll.cache_lease l where l.slot = slots[2] and l.owner = lease_owner;
  if plimsoll.cache_versions(slots) is distinct from began_with then return false; end if;
  insert into plimsoll.cache_value as v (slot, versions, data, mark, cost_ms, fresh_until, kept_until)
    values (slots[2], began_with, cache_fill.data, cache_fill.mark, cache_fill.cost_ms,
      plimsoll.cache_after(fresh_ms), plimsoll.cache_after(keep_ms))
    on conflict (slot) do update set versions = excluded.versions, data = excluded.data, mark = excluded.mark,
      cost_ms = excluded.cost_ms, fresh_until = excluded.fresh_until, kept_until = excluded.kept_until;
  return true;
end
$$;

-- Rows are locked in the order of their names, so that no two invalidations wait for each other.
create function plimsoll.cache_invalidate(slots text[], fresh_version bigint, new_floor text, floor_ms float8)
returns void language plpgsql as $$
begin
  if new_floor = '' then
    perform from plimsoll.cache_slot s where s.slot = any (slots) order by s.slot for update;
    update plimsoll.cache_slot s set version = s.version + 1 where s.slot = any (slots);
  else
    -- New rows and old ones in one order: who held the lock of a later one while he made an earlier one would wait for
    -- who has just made that and now wants the later.
    insert into plimsoll.cache_slot as s (slot, version, floor, kept_until)
      select a, fresh_version, new_floor, plimsoll.cache_after(floor_ms) from unnest(slots) a order by a collate "C"
      on conflict (slot) do update set version = s.version + 1, floor = greatest(s.floor, excluded.floor),
        kept_until = greatest(s.kept_until, excluded.kept_until);
  end if;
  delete from plimsoll.cache_value v where v.slot = any (slots);
end
$$;
