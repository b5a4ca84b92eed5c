-- Events as their transactions wrote them. A row lives here until the relay gives it a position.
create table plimsoll.outbox (
  id bigint generated always as identity primary key,
  type text not null,
  version int not null,
  key text,
  -- whose personal data the payload holds
  subject text,
  at timestamptz not null default clock_timestamp(),
  correlation_id text not null,
  causation_id text,
  caller jsonb not null default '{}',
  payload jsonb not null
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

-- The log. `position` is dense and given in the order of commit visibility, so `position > n` skips nothing.
-- In partitions by position, so that what is old goes by dropping one. `id` cannot be unique across them; that it
-- is follows from how it comes here: it is the identity of the outbox, whose row is deleted by the statement that
-- inserts this one. Each partition has a unique index on it besides.
create table plimsoll.event (
  position bigint not null primary key,
  id bigint not null,
  type text not null,
  version int not null,
  key text,
  subject text,
  at timestamptz not null,
  correlation_id text not null,
  causation_id text,
  caller jsonb not null,
  payload jsonb not null,
  -- when the personal data was taken out of the payload
  erased_at timestamptz
) partition by range (position);
create index event_correlation on plimsoll.event (correlation_id);
create index event_key on plimsoll.event (key, position) where key is not null;
create index event_subject on plimsoll.event (subject) where subject is not null;
create index event_at on plimsoll.event using brin (at);

create table plimsoll.sequencer (
  one boolean primary key default true check (one),
  position bigint not null,
  -- the first position without a partition
  partitioned_to bigint not null
);
insert into plimsoll.sequencer (position, partitioned_to) values (0, 1);

-- Who reacts to what; the relay makes one task for each.
create table plimsoll.subscription (
  name text primary key,
  module text not null,
  event_type text not null,
  max_attempts int not null check (max_attempts > 0),
  -- whether deliveries of one key run one at a time, in the order of the log
  ordered boolean not null default false,
  on_park text not null default 'block' check (on_park in ('block', 'skip')),
  -- the first position that is delivered as it is given; null while older ones are read from the log
  live_from bigint,
  -- when a process last said that it has it
  listed_at timestamptz not null default now()
);
create index subscription_event on plimsoll.subscription (event_type);

-- An event that has had its effect on a subscription; written in the transaction of the effect. In the partitions
-- of the log, and gone with them; what is delivered after that is noted in the default one.
create table plimsoll.inbox (
  subscription text not null,
  position bigint not null,
  -- 0: as the event happened; else the replay that brought it again
  replay bigint not null default 0,
  outcome text not null default 'done' check (outcome in ('done', 'skipped')),
  -- of what was skipped: by whom, why, and the last error
  note jsonb,
  at timestamptz not null default clock_timestamp(),
  primary key (position, subscription, replay)
) partition by range (position);
create table plimsoll.inbox_late partition of plimsoll.inbox default;
