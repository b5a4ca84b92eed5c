-- Who reads the log by position, and the last position that each has done with: what lies after the smallest of
-- them is kept, however old it is. A reader has a row from before it reads until it needs the log no more.
create table plimsoll.log_reader (
  name text primary key,
  position bigint not null,
  updated_at timestamptz not null default now()
);
