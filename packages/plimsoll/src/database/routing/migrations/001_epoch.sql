create schema if not exists plimsoll;

-- The history that this primary writes: one row, made anew by whoever first sees a new timeline. A replica that shows
-- it follows that history.
create table plimsoll.epoch (
  single boolean primary key default true check (single),
  system text not null,
  timeline int not null,
  id uuid not null
);

-- Written and read back by the canary of replica routing.
create table plimsoll.heartbeat (
  single boolean primary key default true check (single),
  beat bigint not null
);
insert into plimsoll.heartbeat (beat) values (0);
