-- What caches outside of us are yet to be purged of: a row for each of them. It is made by the statement that deletes
-- the invalidation, once the inner tiers have been told, so at any moment one of the two is there.
create table plimsoll.purge (
  id bigint generated always as identity primary key,
  purger text not null,
  tags text[] not null,
  -- how often it is still to be done; the last time is for answers that were under way
  times_left smallint not null,
  -- when it may be taken; of one that is taken, when it may be by others
  due_at timestamptz not null default clock_timestamp()
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

create index purge_due on plimsoll.purge (purger, due_at);
