create schema payments;

create table payments.charges (
  order_id bigint primary key,
  pence bigint not null check (pence >= 0),
  bank_id text not null,
  charged_at timestamptz not null default now()
);

create table payments.refunds (
  refund_id text primary key,
  pence bigint not null check (pence >= 0),
  bank_id text not null,
  refunded_at timestamptz not null default now()
);
