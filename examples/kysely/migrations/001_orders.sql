create schema orders;
create table orders.orders (
  id bigint primary key generated always as identity,
  sku text not null,
  quantity int not null check (quantity > 0),
  price numeric(12, 2) not null
);
