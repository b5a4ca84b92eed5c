-- Whose personal data was taken out of the log, on whose word and why.
create table plimsoll.erasure (
  id bigint generated always as identity primary key,
  subject text not null,
  by text not null,
  why text not null,
  -- events whose payload was changed
  events bigint not null,
  at timestamptz not null default now()
);
