create schema reviews;

create table reviews.reviews (
  sku text not null,
  customer_id bigint not null,
  stars int not null check (stars between 1 and 5),
  text text not null,
  written_at timestamptz not null default now(),
  primary key (sku, customer_id)
);

-- Kept with every review, so that a product page reads one row and not all reviews.
create table reviews.ratings (
  sku text primary key,
  count int not null check (count >= 0),
  stars int not null check (stars between count and 5 * count)
);
