-- A load that failed is remembered for all processes: as a lease of nobody, whose owner is ''.
drop function plimsoll.cache_read(text[], bigint, float8, text, text, float8, float8);

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
      select s, fresh_version, plimsoll.cache_after(keep_ms * 1.5) from unnest(slots) s order by s
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
