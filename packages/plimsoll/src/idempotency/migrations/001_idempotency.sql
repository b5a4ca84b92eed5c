-- What was done under a key, and what was answered. A row is written in the transaction of its effect; of work
-- that calls outside systems, before it begins.
create table plimsoll.idempotency (
  -- a command: `orders.place`; a route: `POST /orders`; a webhook: `webhook stripe`
  scope text collate "C" not null,
  -- whose key it is: [tenant, principal] as JSON, empty for nobody known
  client text collate "C" not null,
  key text collate "C" not null,
  -- SHA-256 of what was asked for
  fingerprint text not null,
  -- as text, never read by the server; null while it runs, and where it was too large to keep
  answer json,
  -- while it runs: until then whoever began it may still be at it; null when it is done
  busy_until timestamptz,
  -- raised by whoever begins it again; the fence of ending it
  attempt int not null default 1,
  expires_at timestamptz not null,
  primary key (scope, client, key),
  check (answer is null or busy_until is null)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

create index idempotency_expires_at on plimsoll.idempotency (expires_at);
