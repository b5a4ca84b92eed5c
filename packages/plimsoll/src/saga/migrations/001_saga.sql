-- One row for each saga: where it is. What it has done is in saga_step.
create table plimsoll.saga (
  -- `orders.checkout/42`: the saga's name and the id it was started with
  id text primary key,
  module text not null,
  -- `orders.checkout`
  name text not null,
  -- which code runs it, for good
  version int not null,
  state text not null default 'running'
    check (state in ('running', 'waiting', 'compensating', 'done', 'compensated', 'stuck')),
  -- set once it goes backwards, and kept while it is stuck there
  undoing boolean not null default false,
  -- the fence: raised whenever a worker takes it, so that what an earlier one writes late is refused
  rev int not null default 0,
  -- raised by all that comes from outside (events, decisions), so that no one ends a turn without having seen it
  signals int not null default 0,
  -- the one task that may run it; null: it waits for the outside, has ended or is stuck
  task uuid,
  -- position of the log when it, or its outermost parent, was started: events after it count
  since bigint not null,
  parent text,
  parent_place text,
  input jsonb not null,
  result jsonb,
  -- why it was compensated
  error jsonb,
  -- what went wrong last
  trouble jsonb,
  -- set when somebody asked to undo it
  ending jsonb,
  correlation_id text not null,
  causation_id text,
  caller jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (state not in ('done', 'compensated', 'stuck') or task is null)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

create index saga_live on plimsoll.saga (state) where state not in ('done', 'compensated');
create index saga_created on plimsoll.saga (created_at);
create index saga_correlation on plimsoll.saga (correlation_id);

-- What happened, in order; rows are only added.
create table plimsoll.saga_step (
  saga text not null,
  seq bigint generated always as identity,
  kind text not null check (kind in
    ('began', 'arrived', 'done', 'threw', 'undone', 'undo_threw', 'failed', 'stuck', 'asked')),
  -- where in the code: 3, or 2.stock.1 in a branch; empty for what is about the whole saga
  place text not null default '',
  -- what was asked for there
  op text check (op in ('step', 'sleep', 'event', 'approval', 'child', 'value')),
  name text,
  -- the command, event or saga that the op is about; for a decision what was asked
  operation text,
  input jsonb,
  -- {"value": …}
  output jsonb,
  -- the call that undoes it
  compensation jsonb,
  error jsonb,
  -- until when it waits, from `at` on; null for as long as it takes
  waits_ms float8,
  -- who decided, and why
  who text,
  why text,
  at timestamptz not null default clock_timestamp(),
  primary key (saga, seq)
);
-- Each of these happens once at a place, whoever writes.
create unique index saga_step_once on plimsoll.saga_step (saga, place, kind) where kind in ('began', 'done', 'undone');

-- Events that sagas wait for.
create table plimsoll.saga_wait (
  saga text not null,
  place text not null,
  event_type text not null,
  key text not null,
  -- only events after this position count
  after bigint not null,
  primary key (saga, place)
);
create index saga_wait_event on plimsoll.saga_wait (event_type, key);
