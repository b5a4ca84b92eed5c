create schema notifications;

create table notifications.sent (
  message_id text primary key,
  sent_at timestamptz not null default now()
);
