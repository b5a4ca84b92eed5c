create schema travel;
create table travel.taken (trip text not null, name text not null, n int not null, primary key (trip, name));
