-- What the job belongs to, so that a trace shows one that has ended.
alter table plimsoll.job_receipt add column correlation_id text, add column causation_id text;
create index job_receipt_correlation on plimsoll.job_receipt (correlation_id) where correlation_id is not null;
