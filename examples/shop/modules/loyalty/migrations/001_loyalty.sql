create schema loyalty;

create table loyalty.standings (
  customer_id bigint primary key,
  spent_pence bigint not null check (spent_pence >= 0)
);
