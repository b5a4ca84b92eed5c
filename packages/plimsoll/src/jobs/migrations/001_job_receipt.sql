-- That a job was accepted for an outside client: its task is gone when it is done, this stays.
-- Nothing deletes receipts by itself; see `forgetReceipts`.
create table plimsoll.job_receipt (
  id uuid primary key,
  -- the command's id
  name text not null,
  accepted_at timestamptz not null default now()
);

create index job_receipt_accepted_at on plimsoll.job_receipt (accepted_at);
