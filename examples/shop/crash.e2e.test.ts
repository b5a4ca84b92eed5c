import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { startChild, type Child } from '@plimsoll/cli/process';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf, sql } from 'plimsoll';
import { createDatabase, migrate, type Database } from 'plimsoll/database';
import { shopModules } from './modules.ts';
import { nowhere } from './outside.ts';
import { importRetail } from './retail/import.ts';
import { createShopScenario } from './traffic/scenario.ts';

/** Printed with a failure, so that the same kill points can be tried again. */
const seed = Number(process.env['CRASH_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
// A few in each run of all tests; `npm run test:long` has the rest.
const kills = process.env['TEST_LONG'] === '1' ? 20 : 8;
const here = import.meta.dirname;

let server: TestDatabase;
let database: Database;
let bank: Child;
let mail: Child;
let directory: string;
let env: Record<string, string>;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url, pool: { max: 2 } });
  directory = await mkdtemp(join(tmpdir(), 'plimsoll-crash-'));
  bank = await startChild({
    name: 'bank',
    file: join(here, 'bank/server.ts'),
    env: { BANK_PORT: '0' },
    logFile: join(directory, 'bank.log'),
  });
  mail = await startChild({
    name: 'mail',
    file: join(here, 'mail/server.ts'),
    env: { MAIL_SMTP_PORT: '0', MAIL_HTTP_PORT: '0' },
    logFile: join(directory, 'mail.log'),
  });
  env = {
    DATABASE_URL: server.url,
    DATABASE_REPLICA_URLS: server.replicaUrls.join(','),
    BANK_URL: `http://127.0.0.1:${(bank.ready as { listening: number }).listening}`,
    SMTP_URL: `smtp://127.0.0.1:${(mail.ready as { smtp: number }).smtp}`,
  };
  await migrate(database, migrationsOf({ modules: shopModules(nowhere) }));
  await importRetail(database);
});
afterAll(async () => {
  await Promise.all([bank?.stop(), mail?.stop()]);
  await database?.close();
  await server?.drop();
  await rm(directory, { recursive: true, force: true });
});

const startShop = (): Promise<Child> =>
  startChild({
    name: 'shop',
    file: join(here, '../../packages/cli/bin/plimsoll.js'),
    args: ['start', '--port', '0'],
    env,
    cwd: here,
    logFile: join(directory, 'shop.log'),
  });

/** Mulberry32: small, seeded, good enough to choose moments. */
function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Real baskets, ordered again by eight customers at once until told to stop; returns the ids that were accepted. */
async function orderUntil(
  url: string,
  bodies: Iterator<string>,
  signal: AbortSignal,
  onAccepted: () => void,
): Promise<number[]> {
  const accepted: number[] = [];
  const customer = async (): Promise<void> => {
    while (!signal.aborted) {
      try {
        const response = await fetch(`${url}/orders`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: bodies.next().value as string,
        });
        const body = (await response.json()) as { orderId: number };
        // A process that has just begun is slow, and may say so.
        if (response.status === 503) continue;
        expect(response.status).toBe(201);
        accepted.push(body.orderId);
        onAccepted();
      } catch (error) {
        // The connection breaks when the shop is killed; any other failure is one.
        if (!signal.aborted && !(error instanceof TypeError)) throw error;
        if (error instanceof TypeError) return;
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, customer));
  return accepted;
}

async function* ordersOfTheWeek(random: () => number): AsyncGenerator<string> {
  const scenario = await createShopScenario();
  for (let index = 0; ; index += 1) {
    for (const request of scenario.session(index, random)) {
      if (request.operation === 'orders.place' && request.body !== undefined) yield request.body;
    }
  }
}

test(`${kills} kills at random moments: nothing lost, every effect once`, { timeout: 180_000 }, async () => {
  console.info(`CRASH_SEED=${seed}`);
  const random = randomFrom(seed);
  const bodies: string[] = [];
  for await (const body of ordersOfTheWeek(random)) if (bodies.push(body) === 400) break;
  let next = 0;
  const endless: Iterator<string> = { next: () => ({ done: false, value: bodies[next++ % bodies.length]! }) };

  const accepted: number[] = [];
  for (let kill = 0; kill < kills; kill += 1) {
    const shop = await startShop();
    const over = new AbortController();
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const ordering = orderUntil((shop.ready as { url: string }).url, endless, over.signal, begin);
    // Every other one while it is warming up still, however long that takes on this machine.
    if (kill % 2 === 1) await begun;
    // Between the first moment of work and a full pipeline of events, jobs, charges and mails.
    await new Promise<void>((resolve) => setTimeout(resolve, 20 + random() * 500));
    over.abort();
    await shop.kill();
    accepted.push(...(await ordering));
  }

  const last = await startShop();
  const left = (): Promise<{ n: number }> =>
    database.one(
      sql`select (select count(*) from plimsoll.outbox)::int + (select count(*) from plimsoll.task)::int as n`,
    );
  await expect.poll(left, { timeout: 60_000, interval: 100 }).toEqual({ n: 0 });
  await last.stop();
  expect(accepted.length).toBeGreaterThan(kills);

  // Every order that was answered for is there, and every order, answered or not, has its event and only one.
  expect(new Set(accepted).size).toBe(accepted.length);
  const known = new Set(
    (await database.query<{ id: number }>(sql`select id from orders.orders`)).map(({ id }) => id),
  );
  expect(accepted.filter((id) => !known.has(id))).toEqual([]);
  const none = { n: 0 };
  const newOrders = sql`orders.orders o where o.id >= 1000000`;
  expect(
    await database.one(
      sql`select count(*)::int as n from ${newOrders} and (select count(*) from plimsoll.event e where e.type = 'orders.placed' and (e.payload->>'orderId')::bigint = o.id) <> 1`,
    ),
  ).toEqual(none);
  expect(
    await database.one(
      sql`select count(*)::int as n from plimsoll.event e where e.type = 'orders.placed' and not exists (select 1 from orders.orders o where o.id = (e.payload->>'orderId')::bigint)`,
    ),
  ).toEqual(none);
  // Positions are dense: no event fell through.
  expect(await database.one(sql`select (max(position) - count(*))::int as n from plimsoll.event`)).toEqual(
    none,
  );

  // Every event has had its effect on every subscription, once: the inbox has one row for each pair.
  expect(
    await database.one(sql`
    select count(*)::int as n from plimsoll.event e join plimsoll.subscription s on s.event_type = e.type
    where not exists (select 1 from plimsoll.inbox i where i.subscription = s.name and i.position = e.position)`),
  ).toEqual(none);

  // So has every checkout, and none is missing.
  expect(
    await database.one(
      sql`select count(*)::int as n from ${newOrders} and not exists (select 1 from plimsoll.saga s where s.id = 'orders.checkout/' || o.id and s.state = case o.status when 'shipped' then 'done' else 'compensated' end)`,
    ),
  ).toEqual(none);

  // Every order came to an end, and has exactly what its end says.
  expect(
    await database.one(
      sql`select count(*)::int as n from ${newOrders} and status in ('placed', 'reserved', 'paid')`,
    ),
  ).toEqual(none);
  expect(
    await database.one(
      sql`select count(*)::int as n from ${newOrders} and (status = 'shipped') <> exists (select 1 from payments.charges c where c.order_id = o.id and c.pence = o.pence)`,
    ),
  ).toEqual(none);
  expect(
    await database.one(
      sql`select count(*)::int as n from ${newOrders} and (status = 'shipped') <> exists (select 1 from shipping.shipments s where s.order_id = o.id and s.tracking = o.tracking)`,
    ),
  ).toEqual(none);
  expect(
    await database.one(
      sql`select count(*)::int as n from ${newOrders} and (status = 'shipped') <> exists (select 1 from inventory.reservations r where r.order_id = o.id and r.released_at is null)`,
    ),
  ).toEqual(none);

  // Points were added once: they are the sum of all that was ever paid.
  expect(
    await database.one(sql`
    select count(*)::int as n from (select customer_id, sum(pence) as pence from orders.orders where status = 'shipped' and customer_id is not null group by 1) paid
    full join loyalty.standings s using (customer_id)
    where coalesce(paid.pence, 0) <> coalesce(s.spent_pence, 0)`),
  ).toEqual(none);

  // The bank was charged once per order, with the key of that order and with no other.
  const { entries } = (await (await fetch(`${env['BANK_URL']}/ledger`)).json()) as {
    entries: { key: string; pence: number; outcome: string; asks: number }[];
  };
  const charged = entries
    .filter(({ outcome }) => outcome === 'accepted')
    .map(({ key, pence }) => `${key} ${pence}`)
    .toSorted();
  const paid = await database.query<{ id: number; pence: number }>(
    sql`select id, pence from ${newOrders} and status = 'shipped'`,
  );
  expect(charged).toEqual(paid.map(({ id, pence }) => `charge-${id} ${pence}`).toSorted());
  expect(entries.filter(({ outcome }) => outcome === 'declined').length).toBe(
    (
      await database.one<{ n: number }>(
        sql`select count(*)::int as n from ${newOrders} and status = 'declined'`,
      )
    ).n,
  );

  // Each mail has one Message-ID, of its order and occasion; a mail sent twice by a crash carries the same.
  const mailPort = (mail.ready as { http: number }).http;
  const { messages } = (await (await fetch(`http://127.0.0.1:${mailPort}/messages`)).json()) as {
    messages: { id: string; count: number }[];
  };
  const wanted = await database.query<{ id: string }>(sql`
    select '<order-' || id || '.placed@shop.example>' as id from ${newOrders}
    union all select '<order-' || id || '.shipped@shop.example>' from ${newOrders} and status = 'shipped'`);
  expect(messages.map(({ id }) => id).toSorted()).toEqual(wanted.map(({ id }) => id).toSorted());

  const asks = entries.reduce((sum, entry) => sum + entry.asks, 0);
  const mails = messages.reduce((sum, message) => sum + message.count, 0);
  const orderCount = wanted.filter(({ id }) => id.includes('.placed@')).length;
  console.info(
    `${accepted.length} orders answered, ${orderCount} placed; the bank was asked ${asks} times for ${entries.length} keys; ${mails} mails with ${messages.length} Message-IDs`,
  );
});
