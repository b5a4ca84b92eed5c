create schema points;
create table points.balance (customer_id int primary key, points int not null);
