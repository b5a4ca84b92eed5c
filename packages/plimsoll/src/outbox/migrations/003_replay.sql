-- Events of the log that are brought to one subscription again. How far it is stands in `log_reader`, under
-- `replay:<id>`, until it has ended.
create table plimsoll.replay (
  id bigint generated always as identity primary key,
  subscription text not null,
  filter jsonb not null,
  -- the last position that it looks at
  until_position bigint not null,
  delivered bigint not null default 0,
  by text not null,
  why text not null,
  started_at timestamptz not null default now(),
  ended_at timestamptz
);
create index replay_open on plimsoll.replay (id) where ended_at is null;
