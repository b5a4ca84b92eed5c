-- What emitted it: a command `orders.place`, or a subscription `shipping.ship`; null outside of modules.
alter table plimsoll.outbox add column operation text;
alter table plimsoll.event add column operation text;
