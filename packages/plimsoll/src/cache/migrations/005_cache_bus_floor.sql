-- The latest position of all messages, as text that sorts so: what whoever begins to listen must load at or past.
alter table plimsoll.cache_bus_head add column floor text collate "C" not null default '';
