import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import express from 'express';
import pg from 'pg';
import { createTestDatabase } from '@plimsoll/embedded';
import { expect, inject, test } from 'vitest';
import { migrate } from '../database/migrate.ts';
import { startRelay } from '../database/routing/fixtures/relay.ts';
import { sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { fromPool } from '../pg/from-pool.ts';
import type { Answer } from './answer.ts';
import { idempotentExpress } from './express.ts';
import { createIdempotency } from './idempotency.ts';
import { idempotencyMigrations } from './migrations.ts';

async function purchase(tx: Transaction): Promise<Answer> {
  const { id } = await tx.one<{ id: string }>(
    sql`insert into purchase (sku) values ('tea') returning id::text as id`,
  );
  return { status: 201, body: { id } };
}

test('an endpoint costs one round trip more with a key than without idempotency, and a replay fewer than either', async () => {
  const server = await createTestDatabase(inject('cluster'));
  await using relay = await startRelay(server.url);
  // One connection, on which nobody else sends anything.
  const pool = new pg.Pool({ connectionString: relay.through(server.url), max: 1 });
  const database = fromPool(pool);
  await migrate(database, [idempotencyMigrations]);
  await database.execute(
    sql`create table purchase (id bigint generated always as identity, sku text not null)`,
  );
  const app = express();
  app.use(express.json());
  app.post('/plain', async (_request, response) => {
    const { status, body } = await database.transaction(purchase);
    response.status(status ?? 200).json(body);
  });
  app.post(
    '/orders',
    idempotentExpress(createIdempotency({ database }), async (_request, tx) => purchase(tx)),
  );
  const http = app.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const origin = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;

  /** On the wire to the database, for one request. */
  async function roundTrips(path: string, key?: string): Promise<number> {
    const before = relay.roundTrips;
    const headers = {
      'content-type': 'application/json',
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    };
    const answer = await fetch(`${origin}${path}`, { method: 'POST', headers, body: '{"sku":"tea"}' });
    expect(answer.status).toBe(201);
    await answer.json();
    return relay.roundTrips - before;
  }
  try {
    const [plain, keyless, first, again] = [
      await roundTrips('/plain'),
      await roundTrips('/orders'),
      await roundTrips('/orders', 'k'),
      await roundTrips('/orders', 'k'),
    ];
    expect({ plain, keyless, first, again }).toEqual({ plain: 3, keyless: 3, first: 4, again: 2 });
    expect(await database.query(sql`select count(*)::int as n from purchase`)).toEqual([{ n: 3 }]);
  } finally {
    http.close();
    http.closeAllConnections();
    await once(http, 'close').catch(() => undefined);
    await pool.end();
    await server.drop();
  }
});
