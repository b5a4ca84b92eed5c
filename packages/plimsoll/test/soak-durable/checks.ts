import type { Bank } from './bank.ts';
import type { Servers } from './servers.ts';

interface Counted {
  readonly id: number;
  readonly charged: number;
  readonly shipped: number;
  readonly noted: number;
  readonly checked: number;
}

/** What was promised and is not so, in sentences. `accepted` are the orders whose caller was told so. */
export async function brokenPromises(
  { ask }: Pick<Servers, 'ask'>,
  bank: Pick<Bank, 'keys'>,
  accepted: ReadonlySet<number>,
): Promise<readonly string[]> {
  const broken: string[] = [];
  const counted = await ask<Counted>(`
    select p.id,
      (select count(*) from soak.charged where order_id = p.id)::int as charged,
      (select count(*) from soak.shipped where order_id = p.id)::int as shipped,
      (select count(*) from soak.noted where order_id = p.id)::int as noted,
      (select count(*) from soak.checked where order_id = p.id)::int as checked
    from soak.placed p`);
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
    select p.id::text as id, coalesce(s.state, 'not started') as state,
      (select count(*) from soak.reserved where order_id = p.id and change = 1)::int as reserved,
      (select count(*) from soak.reserved where order_id = p.id and change = -1)::int as released,
      (select count(*) from soak.booked where order_id = p.id)::int as booked
    from soak.placed p left join plimsoll.saga s on s.id = 'soak.checkout/' || p.id`);
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
