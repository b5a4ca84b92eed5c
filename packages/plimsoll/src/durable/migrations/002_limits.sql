-- What holds for all tasks of one name. A name without a row has no limits, and its claims know nothing of this.
create table plimsoll.task_queue (
  name text primary key,
  paused boolean not null default false,
  -- under way at once: in all, and for each group key
  concurrency int check (concurrency > 0),
  group_concurrency int check (group_concurrency > 0),
  -- begun in rate_ms: in all, and for each group key
  rate int check (rate > 0),
  rate_ms double precision check (rate_ms > 0),
  group_rate int check (group_rate > 0),
  group_rate_ms double precision check (group_rate_ms > 0),
  -- group keys have turns, so that one with many tasks does not hold up the others
  turns boolean not null default false,
  -- whose turn was last
  last_group text not null default '',
  check ((rate is null) = (rate_ms is null)),
  check ((group_rate is null) = (group_rate_ms is null))
);

-- Until when what was begun is paid for, one row per name ('' for its whole) and group key (GCRA).
create table plimsoll.task_rate (
  name text not null,
  group_key text not null,
  paid_until timestamptz not null,
  primary key (name, group_key)
) with (fillfactor = 50);

create index task_group on plimsoll.task (name, group_key, priority, run_at, seq) where state = 'ready' and group_key is not null;
-- A claim under limits gives every task a group key, so that those under way are counted here.
create index task_group_running on plimsoll.task (name, group_key) where state = 'running' and group_key is not null;

-- How many more may begin now under a rate.
create function plimsoll.task_rate_left(of_name text, key text, rate int, rate_ms double precision) returns int
language sql volatile
return case when rate is null then 2147483647 else coalesce(
  -- What is paid for in advance has begun already.
  (select floor(rate - greatest(0, extract(epoch from paid_until - clock_timestamp()) * 1000) * rate / rate_ms + 1e-6)::int
   from plimsoll.task_rate r where r.name = of_name and r.group_key = key), rate) end;

create function plimsoll.task_rate_take(of_name text, key text, begun int, rate int, rate_ms double precision) returns void
language plpgsql as $$
begin
  if rate is null or begun = 0 then return; end if;
  insert into plimsoll.task_rate (name, group_key, paid_until)
  values (of_name, key, clock_timestamp() + begun * rate_ms / rate * interval '1 millisecond')
  on conflict (name, group_key) do update
  set paid_until = greatest(task_rate.paid_until, clock_timestamp()) + begun * rate_ms / rate * interval '1 millisecond';
end $$;

-- The first tasks of a name that are of no group; of what stands further back nobody needs to know yet.
create function plimsoll.first_ungrouped(of_name text, most int) returns setof uuid language sql volatile as $$
  select head.id from (
    select t.id, t.group_key from plimsoll.task t where t.name = of_name and t.state = 'ready'
    order by t.priority, t.run_at, t.seq limit 1000) head
  where coalesce(head.group_key, '') = '' limit most
$$;

-- Whose turn is next after `after`, around and around; '' is what is of no group, null that nothing is ready.
create function plimsoll.next_group(of_name text, after text) returns text language sql volatile
return coalesce(
  (select t.group_key from plimsoll.task t
   where t.name = of_name and t.state = 'ready' and t.group_key is not null and t.group_key > after order by t.group_key limit 1),
  (select '' from plimsoll.first_ungrouped(of_name, 1)),
  (select t.group_key from plimsoll.task t
   where t.name = of_name and t.state = 'ready' and t.group_key is not null order by t.group_key limit 1));

-- Claims tasks of one name within its limits; where groups have limits or turns, group by group from the one whose turn
-- is next. One claim of a name at a time, so that what it counts is true; it looks at no more than 200 groups.
create function plimsoll.claim_within_limits(of_name text, by_worker int, most int) returns setof plimsoll.task
language plpgsql set enable_seqscan = off as $$
declare
  queue plimsoll.task_queue;
  -- How many more of the name may begin.
  room int;
  key text;
  allowed int;
  got int;
  looked int := 0;
  -- Since which group none had anything to give: when it comes again, all had their chance.
  empty_since text;
begin
  select * into queue from plimsoll.task_queue q where q.name = of_name for update;
  if not found or queue.paused then return; end if;
  room := least(most, plimsoll.task_rate_left(of_name, '', queue.rate, queue.rate_ms),
    queue.concurrency - (
      select count(*)::int from plimsoll.task t where t.name = of_name and t.state = 'running' and t.group_key is not null));

  if not queue.turns and queue.group_concurrency is null and queue.group_rate is null then
    if room <= 0 then return; end if;
    return query
      update plimsoll.task set state = 'running', attempt = attempt + 1, worker = by_worker, started_at = now(),
        unique_key = null, group_key = coalesce(group_key, '')
      where id = any(array(
        select t.id from plimsoll.task t where t.name = of_name and t.state = 'ready'
        order by t.priority, t.run_at, t.seq limit room for update skip locked))
      returning *;
    get diagnostics got = row_count;
    perform plimsoll.task_rate_take(of_name, '', got, queue.rate, queue.rate_ms);
    return;
  end if;

  while room > 0 and looked < 200 loop
    looked := looked + 1;
    key := plimsoll.next_group(of_name, queue.last_group);
    exit when key is null or key = empty_since;
    queue.last_group := key;
    allowed := least(room, case when queue.turns then 1 end,
      plimsoll.task_rate_left(of_name, '/' || key, queue.group_rate, queue.group_rate_ms),
      queue.group_concurrency - (
        select count(*)::int from plimsoll.task t where t.name = of_name and t.state = 'running' and t.group_key = key));
    got := 0;
    if allowed > 0 then
      return query
        update plimsoll.task set state = 'running', attempt = attempt + 1, worker = by_worker, started_at = now(),
          unique_key = null, group_key = key
        where id = any(case when key = '' then array(
            select t.id from plimsoll.task t
            where t.id in (select plimsoll.first_ungrouped(of_name, allowed)) and t.state = 'ready' for update skip locked)
          else array(
            select t.id from plimsoll.task t where t.name = of_name and t.state = 'ready' and t.group_key = key
            order by t.priority, t.run_at, t.seq limit allowed for update skip locked) end)
        returning *;
      get diagnostics got = row_count;
    end if;
    if got = 0 then
      empty_since := coalesce(empty_since, key);
    else
      empty_since := null;
      room := room - got;
      perform plimsoll.task_rate_take(of_name, '', got, queue.rate, queue.rate_ms);
      perform plimsoll.task_rate_take(of_name, '/' || key, got, queue.group_rate, queue.group_rate_ms);
    end if;
  end loop;
  update plimsoll.task_queue q set last_group = queue.last_group where q.name = of_name and q.last_group <> queue.last_group;
end $$;
