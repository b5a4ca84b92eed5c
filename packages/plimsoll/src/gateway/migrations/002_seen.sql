-- What the clients of one user have seen, for all processes. Unlogged: after a crash of the server it is empty, and
-- writes wait for no log. Half of each page is left free, so that an update finds room beside the row it replaces; for
-- the same reason there is no index on what changes.
create unlogged table plimsoll.seen (
  -- a hash
  id text collate "C",
  -- its name in tokens, as JSON
  database text collate "C",
  timeline int8 not null,
  epoch text collate "C" not null,
  -- log positions of 16 hexadecimal digits, whose order as text is their own
  written text collate "C" not null,
  read text collate "C" not null,
  -- positions by tag; null when there were too many
  tags jsonb,
  -- until then a commit may have happened of which no position is known
  unknown_until timestamptz not null,
  expires_at timestamptz not null,
  -- when the client last wrote, in milliseconds since 1970 by the clock of the process where it did; 0 for never
  wrote_at_ms int8 not null default 0,
  primary key (id, database)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
