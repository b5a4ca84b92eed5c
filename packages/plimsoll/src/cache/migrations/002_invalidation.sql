-- What was invalidated, written in the transaction that changed it: a row is there exactly when the commit is. It is
-- deleted when everybody has been told. Rows are a set and no queue: who reads them keeps no place in them, so none is
-- skipped however late its transaction commits.
create table plimsoll.invalidation (
  id bigint generated always as identity primary key,
  cache text not null,
  transaction xid8 not null default pg_current_xact_id(),
  tags text[] not null,
  keys text[] not null,
  written_at timestamptz not null default clock_timestamp()
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
