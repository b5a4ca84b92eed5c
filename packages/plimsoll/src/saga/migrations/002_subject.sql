-- Whose personal data a saga holds, and when it was taken out: what it did stays, what it was given and what came of
-- it goes.
alter table plimsoll.saga add column subject text, add column erased_at timestamptz;
create index saga_subject on plimsoll.saga (subject) where subject is not null;
