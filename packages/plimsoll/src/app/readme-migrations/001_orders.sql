create schema orders;
create table orders.orders (id bigint generated always as identity primary key, sku text not null);
create table orders.welcomed (id bigint primary key);
