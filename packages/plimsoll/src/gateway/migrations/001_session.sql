-- Who is logged in, until when. Unlogged would lose everybody's session with a crash.
create table plimsoll.session (
  -- keyed hash of the id in the cookie; the id itself is nowhere
  id_hash bytea primary key,
  principal text not null,
  tenant text,
  data jsonb not null default '{}',
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);

create index session_expires_at on plimsoll.session (expires_at);
create index session_principal on plimsoll.session (principal);
