import type { AddressInfo } from 'node:net';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createHmac } from 'node:crypto';
import fastify from 'fastify';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
// #region express
import express, { type Express, type Request } from 'express';
import pg from 'pg';
import { migrate, sql } from 'plimsoll/database';
import { createIdempotency, idempotencyMigrations, idempotentExpress } from 'plimsoll/idempotency';
import { fromPool } from 'plimsoll/pg';

async function shop(pool: pg.Pool): Promise<Express> {
  const database = fromPool(pool);
  await migrate(database, [idempotencyMigrations]);
  const idempotency = createIdempotency({ database, required: true });
  const app = express();
  app.use(express.json());

  app.post(
    '/orders',
    // What is written with `tx` and the record of the answer commit together.
    idempotentExpress(idempotency, async ({ body }: Request<object, unknown, { sku: string }>, tx) => {
      const { id } = await tx.one<{ id: string }>(
        sql`insert into purchase (sku) values (${body.sku}) returning id::text as id`,
      );
      return { status: 201, headers: { location: `/orders/${id}` }, body: { id } };
    }),
  );
  return app;
}
// #endregion

// #region outside
import { idempotentFastify } from 'plimsoll/idempotency';
import type { FastifyInstance, FastifyRequest } from 'fastify';

interface Bank {
  charge(pence: number, key: string): Promise<{ readonly id: string }>;
}

function payments(app: FastifyInstance, pool: pg.Pool, bank: Bank): void {
  const idempotency = createIdempotency({ database: fromPool(pool), required: true, leaseMs: 30_000 });
  app.post(
    '/payments',
    idempotentFastify(idempotency, {
      // In no transaction. After a crash it is asked again with the same key, so the bank charges once.
      outside: ({ body }: FastifyRequest<{ Body: { pence: number } }>, key) => bank.charge(body.pence, key),
      effect: async ({ body }, tx, charge) => {
        await tx.execute(sql`insert into payment values (${charge.id}, ${body.pence})`);
        return { status: 201, body: charge };
      },
    }),
  );
}
// #endregion

// #region webhooks
import { createWebhooks, stripeSignature } from 'plimsoll/idempotency';

function stripeEvents(pool: pg.Pool, secret: string) {
  const webhooks = createWebhooks({
    database: fromPool(pool),
    provider: 'stripe',
    verify: stripeSignature({ secrets: [secret] }),
  });
  // The body as it was sent, before any parser: express.raw({ type: 'application/json' }).
  return (headers: Record<string, string>, body: Uint8Array) =>
    webhooks.receive({ headers, body }, async (tx, id) => {
      await tx.execute(sql`insert into paid (event) values (${id})`);
    });
}
// #endregion

// #region writes
import { insertOnce, writeIfVersion, type Database } from 'plimsoll/database';

async function ship(
  database: Database,
  id: number,
  version: number,
): Promise<'shipped' | 'read again' | 'gone'> {
  const result = await writeIfVersion(database, {
    table: sql.id('parcel'),
    where: sql`id = ${id}`,
    set: sql`state = 'shipped'`,
    version,
  });
  if (result.is === 'changed') return 'read again';
  return result.is === 'missing' ? 'gone' : 'shipped';
}

async function parcelFor(database: Database, orderId: number): Promise<{ readonly id: number }> {
  const { row } = await insertOnce<{ id: number }>(database, {
    table: sql.id('parcel'),
    values: { order_id: orderId, state: 'packed' },
    key: ['order_id'],
  });
  return row;
}
// #endregion

let server: TestDatabase;
let pool: pg.Pool;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  pool = new pg.Pool({ connectionString: server.url, max: 5 });
  // Whose connection the server ends before it has ended itself.
  pool.on('connect', (client) => client.on('error', () => undefined));
  await migrate(fromPool(pool), [idempotencyMigrations]);
  await pool.query(`
    create table purchase (id bigint primary key generated always as identity, sku text not null);
    create table payment (id text primary key, pence int not null);
    create table paid (event text not null);
    create table parcel (id int primary key generated always as identity, order_id int unique, state text, version int not null default 1)`);
});
afterAll(async () => {
  await pool.end();
  await server.drop();
});
const count = async (table: string): Promise<number> =>
  (await pool.query<{ n: number }>(`select count(*)::int as n from ${table}`)).rows[0]!.n;

test('a route of Express on the own pool', async () => {
  const listening = (await shop(pool)).listen(0, '127.0.0.1');
  try {
    await new Promise((resolve) => listening.once('listening', resolve));
    const url = `http://127.0.0.1:${(listening.address() as AddressInfo).port}/orders`;
    const post = (headers: Record<string, string>): Promise<Response> =>
      fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: '{"sku":"tea"}',
      });
    const first = await post({ 'idempotency-key': '"basket-7"' });
    const again = await post({ 'idempotency-key': 'basket-7' });
    expect([first.status, again.status, again.headers.get('idempotency-replayed')]).toEqual([
      201,
      201,
      'true',
    ]);
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect(await again.text()).toBe(await first.text());
    expect([(await post({})).status, await count('purchase')]).toEqual([400, 1]);
  } finally {
    listening.closeAllConnections();
    listening.close();
  }
});

test('a route of Fastify that calls outside passes the same key on when it is tried again', async () => {
  const app = fastify();
  const keys: string[] = [];
  payments(app, pool, {
    charge: (_pence, key) => {
      keys.push(key);
      return keys.length === 1 ? Promise.reject(new Error('hung up')) : Promise.resolve({ id: key });
    },
  });
  const pay = (): Promise<{ statusCode: number; body: string }> =>
    app.inject({
      method: 'POST',
      url: '/payments',
      headers: { 'idempotency-key': 'pay-7' },
      payload: { pence: 100 },
    });
  expect((await pay()).statusCode).toBe(500);
  const paid = await pay();
  expect(paid.statusCode).toBe(201);
  expect((await pay()).body).toBe(paid.body);
  expect([new Set(keys).size, keys.length, await count('payment')]).toEqual([1, 2, 1]);
  await app.close();
});

test('an event of a webhook has its effect once', async () => {
  const secret = 'whsec_only_for_this_test';
  const receive = stripeEvents(pool, secret);
  const body = JSON.stringify({ id: 'evt_7', type: 'charge.succeeded' });
  const at = Math.floor(Date.now() / 1_000);
  const signature = createHmac('sha256', secret).update(`${at}.${body}`).digest('hex');
  const send = () => receive({ 'stripe-signature': `t=${at},v1=${signature}` }, Buffer.from(body));
  expect([await send(), await send(), await count('paid')]).toEqual(['handled', 'duplicate', 1]);
});

test('writes that hold only for what was read, and inserts of what may be there', async () => {
  const database = fromPool(pool);
  const { id } = await parcelFor(database, 7);
  expect(await parcelFor(database, 7)).toMatchObject({ id });
  expect(
    await Promise.all([ship(database, id, 1), ship(database, id, 1)]).then((all) => all.toSorted()),
  ).toEqual(['read again', 'shipped']);
  expect(await ship(database, 99, 1)).toBe('gone');
});
