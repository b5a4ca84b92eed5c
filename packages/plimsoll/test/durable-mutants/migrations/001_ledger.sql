create schema ledger;
-- No table keeps a row from being there twice, so that it would be seen.
create table ledger.paid (id int not null);
create table ledger.noted (id int not null);
create table ledger.shipped (id int not null);
create table ledger.reserved (id int not null, change int not null);

create function ledger.refuse() returns trigger language plpgsql as $$
begin
  raise exception 'refused at COMMIT';
end $$;
-- When all was written and sent, and COMMIT is all that is left.
create constraint trigger refuse after insert on ledger.paid deferrable initially deferred
  for each row when (new.id = 13) execute function ledger.refuse();
