-- Counters of rate limits. Unlogged: after a crash of the server all buckets are full again, and no call waits for
-- the log. Half of each page is left free, so that an update finds room beside the row it replaces.
create unlogged table plimsoll.rate_limit (
  key text primary key,
  -- milliseconds since 2025: when a bucket is full again, or a window ends
  until_ms float8 not null,
  -- points used in the window; of a bucket, the time says it
  used float8 not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- Since 2025 and not since 1970: a double then holds some nanoseconds.
create function plimsoll.rate_limit_now() returns float8 language sql stable parallel safe as $$
  select (extract(epoch from statement_timestamp())::float8 - 1735689600) * 1000
$$;

-- When the window of now ends: that of `step_ms`, or of the month for 0.
create function plimsoll.rate_limit_window_end(now_ms float8, step_ms float8) returns float8
language sql stable parallel safe as $$
  select case
    when step_ms > 0 then (floor(now_ms / step_ms) + 1) * step_ms
    else (extract(epoch from date_trunc('month', statement_timestamp() at time zone 'utc') + interval '1 month')::float8
      - 1735689600) * 1000
  end
$$;

-- Takes `cost` points for each key, or for none when one of them has too few; 0 looks and takes none. The rows are
-- locked in the order of their keys, so that no two callers wait for each other. The time is that at which the
-- statement came: who waited for a lock is judged no more mildly.
create function plimsoll.rate_limit_take(
  keys text[], quotas boolean[], steps float8[], capacities float8[], cost float8
) returns table (place int, granted boolean, used float8, reset_ms float8)
language plpgsql as $$
#variable_conflict use_column
declare
  now_ms constant float8 := plimsoll.rate_limit_now();
  locked int;
begin
  while rate_limit_take.cost > 0 loop
    -- Rows that are not there are made before any lock is taken: who held the lock of a later row while he made an
    -- earlier one would wait for who has just made that and now wants the later.
    insert into plimsoll.rate_limit (key, until_ms, used)
      select k, 0, 0 from unnest(rate_limit_take.keys) k
      where not exists (select from plimsoll.rate_limit r where r.key = k) order by k on conflict do nothing;
    perform from plimsoll.rate_limit r where r.key = any (rate_limit_take.keys) order by r.key for update;
    get diagnostics locked = row_count;
    exit when locked = cardinality(rate_limit_take.keys);
  end loop;
  return query
    with asked as (
      select a.key, a.quota, a.step, a.capacity, a.place::int,
        case when a.quota then plimsoll.rate_limit_window_end(now_ms, a.step)
          else now_ms + a.capacity * a.step end as latest
      from unnest(rate_limit_take.keys, quotas, steps, capacities) with ordinality a (key, quota, step, capacity, place)
    ), cut as (
      -- Only when the clock was set back, or the rule was other: then it is empty, and fills from now.
      update plimsoll.rate_limit r set until_ms = a.latest
      from asked a where r.key = a.key and r.until_ms > a.latest and rate_limit_take.cost = 0
    ), held as (
      select a.*,
        case
          when coalesce(r.until_ms, 0) > now_ms then least(r.until_ms, a.latest)
          when a.quota then a.latest
          else now_ms
        end as until_ms,
        case when a.quota and r.until_ms > now_ms then r.used else 0 end as used
      from asked a left join plimsoll.rate_limit r using (key)
    ), verdict as (
      select bool_and(case when quota then used + rate_limit_take.cost <= capacity
        else until_ms - now_ms + rate_limit_take.cost * step <= capacity * step + least(1, step) / 1000 end) as granted
      from held
    ), after as (
      select key, place, granted, quota, step,
        until_ms + case when granted and not quota then rate_limit_take.cost * step else 0 end as until_ms,
        used + case when granted and quota then rate_limit_take.cost else 0 end as used
      from held, verdict
    ), taken as (
      update plimsoll.rate_limit r set until_ms = a.until_ms, used = a.used
      from after a where a.granted and rate_limit_take.cost > 0 and r.key = a.key
    )
    select place, granted,
      case when quota then used else (until_ms - now_ms) / step end,
      case when quota and used = 0 then 0 else until_ms - now_ms end
    from after;
end $$;
