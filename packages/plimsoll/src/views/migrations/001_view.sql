-- One table of a view: of a version, or of a version that is built again. `position` is the last event that its rows
-- have in them; both change in one transaction. The SQL view of the view's name shows the one that is live.
create table plimsoll.view_table (
  schema_name text not null,
  table_name text not null,
  view_name text not null,
  version int not null check (version > 0),
  state text not null check (state in ('building', 'live', 'retired')),
  position bigint not null default 0,
  shape jsonb not null,
  made_at timestamptz not null default now(),
  switched_at timestamptz,
  failure jsonb,
  primary key (schema_name, table_name)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
create unique index view_table_live on plimsoll.view_table (schema_name, view_name) where state = 'live';
create unique index view_table_building on plimsoll.view_table (schema_name, view_name) where state = 'building';
