-- Effects outside the database: what was begun, and what came of it. The intent commits before the effect,
-- the result with the transaction of the handler that asked for it.
create table plimsoll.external (
  -- operation and name: `billing.charge/bank`
  scope text not null,
  -- the caller's own: an order's id
  key text not null,
  state text not null default 'intent' check (state in ('intent', 'done')),
  -- raised by whoever begins it again; the fence of giving it back
  attempt int not null default 1,
  -- until then whoever began it may still be at it
  busy_until timestamptz not null,
  -- {"value": …}, so that a null and nothing stay apart
  result jsonb,
  created_at timestamptz not null default now(),
  done_at timestamptz,
  primary key (scope, key),
  check ((state = 'done') = (result is not null))
);
