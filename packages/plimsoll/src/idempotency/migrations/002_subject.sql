-- Whose personal data the answer holds, so that it can be taken out.
alter table plimsoll.idempotency add column subject text;
create index idempotency_subject on plimsoll.idempotency (subject) where subject is not null;
