-- Work to be done: jobs (a command called later), deliveries (one event for one subscription), turns of sagas.
-- Only live work is here: a task that is done is deleted in the transaction that holds its effects.
create table plimsoll.task (
  id uuid primary key,
  kind text not null check (kind in ('job', 'delivery', 'saga')),
  -- the command's id, or `module.subscription`
  name text not null,
  state text not null default 'ready' check (state in ('ready', 'running', 'parked')),
  run_at timestamptz not null default now(),
  attempt int not null default 0,
  max_attempts int not null check (max_attempts > 0),
  -- who runs it; together with attempt this is the fence
  worker int,
  started_at timestamptz,
  payload jsonb not null,
  correlation_id text not null,
  causation_id text,
  caller jsonb not null default '{}',
  last_error jsonb,
  created_at timestamptz not null default now(),
  check ((state = 'running') = (worker is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

create index task_ready on plimsoll.task (run_at) where state = 'ready';
create index task_running on plimsoll.task (worker) where state = 'running';
create index task_parked on plimsoll.task (name) where state = 'parked';

-- One row per worker process, alive exactly as long as its session holds the advisory lock on its id.
create table plimsoll.worker (
  id int generated always as identity primary key,
  host text not null,
  pid int not null,
  started_at timestamptz not null default now()
);
