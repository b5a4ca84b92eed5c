import { sql } from 'plimsoll';
import { untilIdle } from 'plimsoll/testing';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { isDeclined } from '../bank/ledger.ts';
import { loyalty } from '../modules/loyalty/contract.ts';
import { orders } from '../modules/orders/contract.ts';
import { plimsoll, shapeOf, shownIn } from './plimsoll.ts';
import { startFilledShop, type RunningShop } from './running-shop.ts';

/** docs/guides/what-happened.md, each command as it stands there, on the shop while it runs. */
let shop: RunningShop;
beforeAll(async () => {
  shop = await startFilledShop(inject('cluster'));
});
afterAll(() => shop[Symbol.asyncDispose]());

const lantern = { sku: '71053', quantity: 1 };
const ada = { customerId: 12_583, deliverTo: 'Ada Lovelace, 12 St James Square, London' };

/** The next order gets this number. */
const number = (next: number): Promise<unknown> =>
  shop.app.database.query(sql`select setval('orders.orders_id_seq', ${next}, false)`);
async function place(
  who: { readonly customerId: number; readonly deliverTo?: string },
  request = crypto.randomUUID() as string,
): Promise<number> {
  const answer = await fetch(`${shop.app.url}/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-correlation-id': request, 'idempotency-key': request },
    body: JSON.stringify({ ...who, country: 'France', lines: [lantern] }),
  });
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { orderId: number }).orderId;
}
const head = async (): Promise<number> =>
  (await shop.app.database.one<{ position: number }>(sql`select position from plimsoll.sequencer`)).position;

/** Runs the commands of a section as they are there; what they answer must look as it does there. */
async function follow(section: string): Promise<void> {
  const blocks = await shownIn(section);
  expect(blocks.length).toBeGreaterThan(0);
  for (const { command, answer } of blocks) {
    const { out, err } = await plimsoll(command, shop.databaseUrl);
    expect({ command, answer: shapeOf(out), err: out === '' ? err : '' }).toEqual({
      command,
      answer: shapeOf(answer),
      err: '',
    });
  }
}

interface Taken {
  readonly country: string;
  readonly day: string;
  readonly orders: number;
  readonly pence: number;
}

/** What the log makes of the view, by other code than the view's. */
async function foldedTakings(): Promise<Taken[]> {
  return shop.app.database.query<Taken>(sql`
    select payload->>'country' as country, to_char(at at time zone 'UTC', 'YYYY-MM-DD') as day, count(*)::int as orders,
      sum((payload->>'pence')::bigint)::bigint as pence
    from plimsoll.event where type = 'orders.paid' group by 1, 2 order by 1, 2`);
}
const shownTakings = (): Promise<Taken[]> =>
  shop.app.database.query<Taken>(
    sql`select country, day, orders, pence from orders.takings order by country, day`,
  );
const spentOf = async (customerId: number): Promise<number> =>
  (
    await shop.app.database.maybeOne<{ spent: number }>(
      sql`select spent_pence as spent from loyalty.standings where customer_id = ${customerId}`,
    )
  )?.spent ?? 0;

test('what happened to order 42, and why; and to one that was declined', { timeout: 240_000 }, async () => {
  await number(42);
  await place(ada, 'web-42');
  await untilIdle(shop.app);
  expect(isDeclined('charge-208')).toBe(true);
  await number(208);
  await place({ customerId: 17_850 }, 'web-208');
  await untilIdle(shop.app);
  await follow('What happened, and why');
});

test(
  'events that were lost are replayed to one subscription, each with its effect once',
  { timeout: 240_000 },
  async () => {
    const customers = [900_001, 900_002] as const;
    await number(2_001);
    // As the guide has it.
    expect(await head()).toBe(7);
    for (const customerId of [...customers, ...customers]) {
      await place({ customerId });
      await untilIdle(shop.app);
    }
    expect(await head()).toBe(23);
    const before = await Promise.all([...customers, ada.customerId].map(spentOf));
    expect(before[0]).toBeGreaterThan(0);
    await shop.app.database.execute(
      sql`delete from loyalty.standings where customer_id = any(${[...customers]})`,
    );
    let going = true;
    let more = 0;
    const buying = (async () => {
      while (going) {
        await place({ customerId: customers[0] });
        more += 1;
      }
    })();
    try {
      await follow('Bring events again');
    } finally {
      going = false;
      await buying;
    }
    await untilIdle(shop.app);
    expect(more).toBeGreaterThan(0);
    const { pence } = await shop.app.database.one<{ pence: number }>(
      sql`select coalesce(sum(pence), 0)::bigint as pence from orders.orders where customer_id = ${customers[0]} and status = 'shipped'`,
    );
    // All of one who went on buying, all of the other, and nobody else's twice.
    expect(await Promise.all([...customers, ada.customerId].map(spentOf))).toEqual([
      pence,
      before[1],
      before[2],
    ]);
    expect(
      await shop.app.database.query(
        sql`select subscription, count(*)::int as n from plimsoll.inbox where replay > 0 group by 1`,
      ),
    ).toEqual([{ subscription: 'loyalty.add-spending', n: 4 }]);
    // The replica may be a moment behind.
    await expect
      .poll(() => shop.app.call(loyalty.standing, { customerId: customers[1] }), { timeout: 10_000 })
      .toMatchObject({ spentPence: before[1] });
  },
);

test(
  'a view is built anew beside the live one and switched to at once, and is what the log makes of it',
  { timeout: 240_000 },
  async () => {
    await shop.app.database.execute(sql`update orders.takings_v1 set pence = 1`);
    expect(await shownTakings()).not.toEqual(await foldedTakings());
    const seen: number[] = [];
    let going = true;
    const using = Promise.all([
      (async () => {
        while (going) await place({ customerId: 900_003 });
      })(),
      (async () => {
        while (going) {
          const days = await shop.app.call(orders.takings, { country: 'France' });
          seen.push(days.reduce((sum, day) => sum + day.orders, 0));
        }
      })(),
    ]);
    try {
      await follow('Build a view anew');
    } finally {
      going = false;
      await using;
    }
    await untilIdle(shop.app);
    await expect.poll(shownTakings, { timeout: 20_000 }).toEqual(await foldedTakings());
    expect(seen.length).toBeGreaterThan(10);
    // Nobody saw half of it, or an earlier state after a later one.
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  },
);

test(
  'a person is erased from all that is kept; orders, standings and views are as before',
  { timeout: 240_000 },
  async () => {
    await shop.killMail();
    await number(3_001);
    await place(ada, 'web-3001');
    // The mails of it are given up after their next try.
    await expect
      .poll(
        async () => {
          await shop.app.database.execute(
            sql`update plimsoll.task set max_attempts = greatest(attempt, 1), run_at = now() where name = 'notifications.send' and state = 'scheduled'`,
          );
          return (await shop.app.taskCounts()).parked;
        },
        { timeout: 60_000, interval: 100 },
      )
      .toBe(2);
    const order = await shop.app.call(orders.byId, { orderId: 42 });
    const [spent, takings, reader] = [await spentOf(ada.customerId), await shownTakings(), await head()];
    expect(await tablesThatShow('Lovelace')).toEqual(
      expect.arrayContaining(['plimsoll.event', 'plimsoll.saga', 'plimsoll.saga_step', 'plimsoll.task']),
    );

    await follow('Forget a person');

    expect(await tablesThatShow('Lovelace')).toEqual([]);
    expect(await shop.app.call(orders.byId, { orderId: 42 })).toEqual(order);
    expect([await spentOf(ada.customerId), await shownTakings(), await head()]).toEqual([
      spent,
      takings,
      reader,
    ]);
    // Also built from the log as it is now.
    expect(await foldedTakings()).toEqual(takings);
    const rebuilt = await plimsoll('plimsoll views rebuild orders.takings', shop.databaseUrl);
    expect(rebuilt.code).toBe(0);
    expect(await shownTakings()).toEqual(takings);
    // Whoever reads the log later can read it.
    const again = await plimsoll(
      `plimsoll events replay --subscription notifications.thank --key 42 --why 'to see that it is read'`,
      shop.databaseUrl,
    );
    expect(again.code).toBe(0);
    await expect
      .poll(
        () =>
          shop.app.database.one(
            sql`select count(*)::int as n from plimsoll.inbox where subscription = 'notifications.thank' and replay > 0`,
          ),
        { timeout: 20_000 },
      )
      .toEqual({ n: 1 });
  },
);

/** Of all tables of the database, those with a row that shows it. */
async function tablesThatShow(what: string): Promise<string[]> {
  const tables = await shop.app.database.query<{ schema: string; name: string }>(sql`
    select n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition and n.nspname not in ('pg_catalog', 'information_schema') order by 1, 2`);
  const found: string[] = [];
  for (const { schema, name } of tables) {
    const [row] = await shop.app.database.query(
      sql`select 1 from ${sql.id(schema, name)} t where to_jsonb(t)::text like ${`%${what}%`} limit 1`,
    );
    if (row !== undefined) found.push(`${schema}.${name}`);
  }
  return found;
}
