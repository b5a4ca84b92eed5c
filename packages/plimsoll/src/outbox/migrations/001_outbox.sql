-- Events as their transactions wrote them. A row lives here until the relay gives it a position.
create table plimsoll.outbox (
  id bigint generated always as identity primary key,
  type text not null,
  version int not null,
  key text,
  at timestamptz not null default clock_timestamp(),
  correlation_id text not null,
  causation_id text,
  caller jsonb not null default '{}',
  payload jsonb not null
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

-- The log. `position` is dense and given in the order of commit visibility, so `position > n` skips nothing.
create table plimsoll.event (
  position bigint primary key,
  id bigint not null unique,
  type text not null,
  version int not null,
  key text,
  at timestamptz not null,
  correlation_id text not null,
  causation_id text,
  caller jsonb not null,
  payload jsonb not null
);
create index event_correlation on plimsoll.event (correlation_id);
create index event_key on plimsoll.event (key, position) where key is not null;

create table plimsoll.sequencer (
  one boolean primary key default true check (one),
  position bigint not null
);
insert into plimsoll.sequencer (position) values (0);

-- Who reacts to what; the relay makes one task for each.
create table plimsoll.subscription (
  name text primary key,
  module text not null,
  event_type text not null,
  max_attempts int not null check (max_attempts > 0)
);
create index subscription_event on plimsoll.subscription (event_type);

-- An event that has had its effect on a subscription; written in the transaction of the effect.
create table plimsoll.inbox (
  subscription text not null,
  event_id bigint not null,
  at timestamptz not null default now(),
  primary key (subscription, event_id)
);
