-- What caches tell each other. Unlogged: after a crash of the server it has another life, and whoever listens forgets
-- everything. Places are taken under the lock of the head, so they can be seen in their order and without gaps.
create unlogged table plimsoll.cache_bus_head (
  name text primary key,
  life uuid not null default gen_random_uuid(),
  place bigint not null,
  -- the latest position of all messages, as text that sorts so: what whoever begins to listen must load at or past
  floor text collate "C" not null default ''
) with (fillfactor = 20);

create unlogged table plimsoll.cache_bus (
  name text not null,
  place bigint not null,
  messages text not null,
  sent_at timestamptz not null default clock_timestamp(),
  primary key (name, place)
);
