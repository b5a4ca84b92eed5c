-- Work to be done: jobs (a command called later), deliveries (one event for one subscription), turns of sagas.
-- Only live work is here: a task that is done is deleted in the transaction that holds its effects.
create sequence plimsoll.task_seq;

create table plimsoll.task (
  id uuid primary key,
  -- in the order of writing; among tasks of one order key, that of their commits
  seq bigint not null default nextval('plimsoll.task_seq'),
  kind text not null check (kind in ('job', 'delivery', 'saga')),
  -- the command's id, or `module.subscription`
  name text not null,
  -- ready: to be claimed; scheduled: not before run_at; waiting: behind another of its order key
  state text not null default 'ready' check (state in ('ready', 'running', 'scheduled', 'waiting', 'parked')),
  -- lower first
  priority smallint not null default 0,
  -- when it is due, or became ready
  run_at timestamptz not null default now(),
  -- tasks of one name and order key run one at a time, in the order of seq
  order_key text,
  -- whether a parked task holds up those behind it
  on_park text not null default 'block' check (on_park in ('block', 'skip')),
  -- whom it is for: limits and turns count by it
  group_key text,
  -- one of a name and key at most that no worker has taken yet
  unique_key text,
  attempt int not null default 0,
  max_attempts int not null check (max_attempts > 0),
  timeout_ms int check (timeout_ms > 0),
  -- who runs it; together with attempt this is the fence
  worker int,
  started_at timestamptz,
  parked_at timestamptz,
  payload jsonb not null,
  correlation_id text not null,
  causation_id text,
  caller jsonb not null default '{}',
  last_error jsonb,
  -- asked to end while it runs, and why
  cancel_reason text,
  -- what its handler tells of itself; in no index, so that telling is cheap
  progress jsonb,
  heartbeat_at timestamptz,
  -- whether its result outlives it, in a receipt
  keep_result boolean not null default false,
  created_at timestamptz not null default now(),
  check ((state = 'running') = (worker is not null)),
  check (state <> 'waiting' or order_key is not null)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

alter sequence plimsoll.task_seq owned by plimsoll.task.seq;

-- A claim looks at the head of each name, and never at what is not due.
create index task_ready on plimsoll.task (name, priority, run_at, seq) where state = 'ready';
create index task_scheduled on plimsoll.task (run_at) where state = 'scheduled';
create index task_running on plimsoll.task (worker) where state = 'running';
create index task_parked on plimsoll.task (name, parked_at) where state = 'parked';
create index task_waiting on plimsoll.task (name, order_key, seq) where state = 'waiting';
create unique index task_unique on plimsoll.task (name, unique_key)
  where unique_key is not null and state in ('ready', 'scheduled', 'waiting');
-- One task of a key is its head; two at once are impossible.
create unique index task_head on plimsoll.task (name, order_key)
  where order_key is not null and (state in ('ready', 'running', 'scheduled') or (state = 'parked' and on_park = 'block'));

-- What writers of one order key and the end of its head hold until they commit, so that neither misses the other.
-- 256 locks per name, so that a batch of any size fits into the server's table of locks; whoever takes several takes
-- them in the order of their numbers.
create function plimsoll.order_lock(name text, order_key text) returns bigint
language sql immutable strict parallel safe
return (hashtextextended(name, 7) & ~255::bigint) | (hashtextextended(order_key, 7) & 255);

-- Each statement after the lock must see what was committed before it; a snapshot from before would lose tasks.
create function plimsoll.hold_order(name text, order_key text) returns void language plpgsql as $$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception 'tasks with an order key are written and ended in READ COMMITTED transactions; this one is %',
      upper(current_setting('transaction_isolation'))
      using errcode = 'feature_not_supported',
      hint = 'Write the task in a transaction of READ COMMITTED, or without an order key.';
  end if;
  perform pg_advisory_xact_lock(plimsoll.order_lock(name, order_key));
end $$;

-- A plan made while the table was small must not be kept for when it is large: hence no sequential scans.
create function plimsoll.task_takes_its_place() returns trigger language plpgsql set enable_seqscan = off as $$
begin
  perform plimsoll.hold_order(new.name, new.order_key);
  -- Numbered under the lock, so that numbers follow commits.
  new.seq := nextval('plimsoll.task_seq');
  if exists (
    select from plimsoll.task t where t.name = new.name and t.order_key = new.order_key
      and (t.state in ('ready', 'running', 'scheduled') or (t.state = 'parked' and t.on_park = 'block'))
  ) then
    new.state := 'waiting';
  end if;
  return new;
end $$;

create function plimsoll.task_lets_the_next_go() returns trigger language plpgsql set enable_seqscan = off as $$
begin
  perform plimsoll.hold_order(old.name, old.order_key);
  update plimsoll.task set state = case when run_at > clock_timestamp() then 'scheduled' else 'ready' end,
    run_at = greatest(run_at, clock_timestamp())
  where id = (
      select t.id from plimsoll.task t
      where t.name = old.name and t.order_key = old.order_key and t.state = 'waiting' order by t.seq limit 1)
    and not exists (
      select from plimsoll.task t where t.name = old.name and t.order_key = old.order_key
        and (t.state in ('ready', 'running', 'scheduled') or (t.state = 'parked' and t.on_park = 'block')));
  return null;
end $$;

create trigger task_is_written before insert on plimsoll.task for each row
  when (new.order_key is not null)
  execute function plimsoll.task_takes_its_place();
create trigger task_is_gone after delete on plimsoll.task for each row
  when (old.order_key is not null)
  execute function plimsoll.task_lets_the_next_go();
-- Out of the way, or back behind the others.
create trigger task_steps_aside after update of state on plimsoll.task for each row
  when (old.order_key is not null and old.state is distinct from new.state
    and (new.state = 'waiting' or (new.state = 'parked' and new.on_park = 'skip')))
  execute function plimsoll.task_lets_the_next_go();

-- That a job was accepted for an outside client, or how it ended: its task is gone when it is done, this stays.
-- Nothing deletes receipts by itself; see `forgetReceipts`.
create table plimsoll.job_receipt (
  id uuid primary key,
  -- the command's id
  name text not null,
  accepted_at timestamptz not null default now(),
  -- null for one that has not ended, and for one that is done and whose result nobody asked to keep
  outcome text check (outcome in ('done', 'cancelled')),
  result jsonb,
  -- of a cancelled one
  reason text,
  ended_at timestamptz
);
create index job_receipt_accepted_at on plimsoll.job_receipt (accepted_at);

-- One row per worker process, alive exactly as long as its session holds the advisory lock on its id; behind a
-- pooler, which shares sessions out, as long as it renews its lease.
create table plimsoll.worker (
  id int generated always as identity primary key,
  host text not null,
  pid int not null,
  started_at timestamptz not null default now(),
  lease_until timestamptz
);
