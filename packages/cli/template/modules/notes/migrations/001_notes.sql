create schema notes;

create table notes.note (
  id bigint generated always as identity primary key,
  text text not null
);

create table notes.total (words bigint not null);
insert into notes.total values (0);
