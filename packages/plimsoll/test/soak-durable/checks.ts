import type { Bank } from './bank.ts';
import type { Servers } from './servers.ts';

interface Counted {
  readonly id: number;
  readonly charged: number;
  readonly shipped: number;
  readonly noted: number;
  readonly checked: number;
}

/** How often an order has had an effect. By joins: one look for each order at tables of all of them takes minutes. */
const timesOf = (effect: string, rows: string = effect): string =>
  `left join (select order_id, count(*)::int as n from soak.${rows} group by order_id) ${effect} on ${effect}.order_id = p.id`;

/** What was promised and is not so, in sentences. `accepted` are the orders whose caller was told so. */
export async function brokenPromises(
  { ask }: Pick<Servers, 'ask'>,
  bank: Pick<Bank, 'keys'>,
  accepted: ReadonlySet<number>,
): Promise<readonly string[]> {
  const broken: string[] = [];
  const counted = await ask<Counted>(`
    select p.id, coalesce(charged.n, 0) as charged, coalesce(shipped.n, 0) as shipped,
      coalesce(noted.n, 0) as noted, coalesce(checked.n, 0) as checked
    from soak.placed p ${['charged', 'shipped', 'noted', 'checked'].map((effect) => timesOf(effect)).join(' ')}`);
  const known = new Set(counted.map(({ id }) => id));
  for (const id of accepted) if (!known.has(id)) broken.push(`order ${id} was accepted and is not there`);
  for (const { id, ...effects } of counted)
    for (const [effect, times] of Object.entries(effects))
      if (times !== 1) broken.push(`order ${id} was ${effect} ${times} times`);
  for (const table of ['charged', 'shipped', 'noted', 'checked']) {
    const strangers = await ask<{ id: number }>(
      `select distinct order_id as id from soak.${table} where order_id not in (select id from soak.placed)`,
    );
    for (const { id } of strangers) broken.push(`order ${id} does not exist and was ${table}`);
  }
  for (const [id, keys] of bank.keys)
    if (keys.size !== 1) broken.push(`the bank was asked to charge order ${id} under ${keys.size} keys`);

  const sagas = await ask<{ id: string; state: string; reserved: number; released: number; booked: number }>(`
    select p.id::text as id, coalesce(s.state, 'not started') as state, coalesce(reserved.n, 0) as reserved,
      coalesce(released.n, 0) as released, coalesce(booked.n, 0) as booked
    from soak.placed p left join plimsoll.saga s on s.id = 'soak.checkout/' || p.id
      ${timesOf('reserved', 'reserved where change = 1')} ${timesOf('released', 'reserved where change = -1')}
      ${timesOf('booked')}`);
  const wanted: Readonly<Record<string, string>> = { done: '1,0,1', compensated: '1,1,0' };
  for (const { id, state, reserved, released, booked } of sagas)
    if (wanted[state] !== [reserved, released, booked].join(','))
      broken.push(
        `the saga of order ${id} is ${state}: reserved ${reserved}, released ${released}, booked ${booked} times`,
      );

  const inverted = await ask<{ account: number; seq: number; before: number }>(`
    select account, seq, before from (
      select account, seq, lag(seq, 1, 0) over (partition by account order by n) as before from soak.noted) each
    where seq <> before + 1`);
  for (const { account, seq, before } of inverted)
    broken.push(`account ${account}: order number ${seq} was noted after number ${before}`);

  const [log] = await ask<{ events: number; last: number; placed: number }>(`
    select count(*)::int as events, coalesce(max(position), 0)::int as last,
      count(*) filter (where type = 'soak.placed')::int as placed from plimsoll.event`);
  if (log !== undefined && log.events !== log.last)
    broken.push(`the log has ${log.events} events and ends at position ${log.last}`);
  if (log !== undefined && log.placed !== counted.length)
    broken.push(`${counted.length} orders were placed and the log has ${log.placed} events of that`);
  const backwards = await ask<{ key: string }>(`
    select distinct key from (
      select key, (payload->>'seq')::int as seq, lag((payload->>'seq')::int, 1, 0) over (partition by key order by position) as before
      from plimsoll.event where type = 'soak.placed') each
    where seq <> before + 1`);
  for (const { key } of backwards)
    broken.push(`the events of account ${key} are not in the order of their commits`);

  const wrong = await ask<{ account: number }>(`
    select coalesce(t.account, f.account) as account
    from soak.totals t full join (
      select account, count(*)::int as orders, sum(pence)::int as pence from soak.placed group by account) f
      on f.account = t.account
    where (t.orders, t.pence) is distinct from (f.orders, f.pence)`);
  for (const { account } of wrong)
    broken.push(`the totals of account ${account} are not those of its orders`);
  return broken;
}

/** What is left to be done. */
export async function unfinished({ ask }: Pick<Servers, 'ask'>): Promise<{
  readonly outbox: number;
  readonly tasks: number;
  readonly parked: number;
  readonly behind: number;
}> {
  const [left] = await ask<{ outbox: number; tasks: number; parked: number; behind: number }>(`
    select (select count(*) from plimsoll.outbox)::int as outbox,
      (select count(*) from plimsoll.task where state <> 'parked')::int as tasks,
      (select count(*) from plimsoll.task where state = 'parked')::int as parked,
      (select (select position from plimsoll.sequencer) - min(position) from plimsoll.view_table where state = 'live')::int as behind`);
  return left ?? { outbox: 0, tasks: 0, parked: 0, behind: 0 };
}
