create schema shipping;

create table shipping.shipments (
  order_id bigint primary key,
  country text not null,
  tracking text not null unique,
  shipped_at timestamptz not null default now()
);
