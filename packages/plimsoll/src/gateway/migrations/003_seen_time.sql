-- When the client last wrote, in milliseconds since 1970 by the clock of the process where it did; 0 for never.
alter table plimsoll.seen add column wrote_at_ms int8 not null default 0;
