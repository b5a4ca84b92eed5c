-- Where the building of a table began, to tell how far and how fast it is: the position before its first event.
alter table plimsoll.view_table add column from_position bigint not null default 0;
