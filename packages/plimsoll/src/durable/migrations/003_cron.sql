-- Jobs that are enqueued again and again. Whoever looks first enqueues what is due and says when the next one is, in one
-- transaction, so that each time is enqueued once, however many processes look.
create table plimsoll.cron (
  name text primary key,
  -- whose schedules are replaced together
  owner text not null,
  expression text not null,
  timezone text not null,
  -- the command's id, or the name of a handler
  task text not null,
  payload jsonb not null,
  options jsonb not null default '{}',
  -- what becomes of times at which nobody looked
  catch_up text not null check (catch_up in ('skip', 'once', 'all')),
  paused boolean not null default false,
  -- null when there is no next time
  next_at timestamptz,
  last_at timestamptz
);
create index cron_next on plimsoll.cron (next_at) where not paused;
