create schema catalog;

create table catalog.products (
  sku text primary key,
  description text not null,
  pence int not null check (pence >= 0),
  -- 'simple' keeps every word as it is: people search for the words on the label, and begin them.
  words tsvector not null generated always as (to_tsvector('simple', sku || ' ' || description)) stored
);
create index products_words on catalog.products using gin (words);
