create schema soak;

create table soak.account (id int primary key, orders int not null default 0);

-- What was accepted. `seq` counts the orders of an account in the order in which they were committed.
create table soak.placed (id int primary key, account int not null, seq int not null, pence int not null);

-- Effects: none of these tables keeps a row from being there twice, so that it would be seen.
create table soak.charged (order_id int not null, bank_id text not null);
create table soak.shipped (order_id int not null);
create table soak.noted (n bigint generated always as identity, order_id int not null, account int not null, seq int not null);
create table soak.checked (order_id int not null);

-- Of the saga of each order: reserved, perhaps released again, booked.
create table soak.reserved (order_id int not null, change int not null);
create table soak.booked (order_id int not null);

-- Whether what is poisonous has been cured.
create table soak.cured (one boolean primary key default true check (one));
