create table products (id serial primary key, name text not null, price int not null, stock int not null default 0);
create table customers (id serial primary key, email text not null unique, name text not null);
create table orders (id serial primary key, customer_id int not null references customers, total int not null);
create table order_lines (
  order_id int not null references orders,
  product_id int not null references products,
  quantity int not null check (quantity > 0)
);
