import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import express from 'express';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { migrate } from '../database/migrate.ts';
import { createContext, currentContext, runInContext } from '../kernel/context.ts';
import { insertEvents, type NewEvent } from '../outbox/events.ts';
import { fromClient } from '../pg/from-client.ts';
import { fromPool } from '../pg/from-pool.ts';
import { plimsollContext } from './context.ts';

let server: TestDatabase;
let pool: pg.Pool;
let http: Server;
let port: number;
/** What the routes tell. */
let arrived = Promise.withResolvers<void>();
let outcome = Promise.withResolvers<unknown>();

const written: NewEvent = { type: 'old.written', version: 1, correlationId: 'c', caller: {}, payload: null };

/** An old route's transaction: its own statement, then an event. `slow` lasts longer than the request may. */
async function order(slow: string): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await client.query('insert into orders default values');
    await client.query(slow);
    await fromClient(client).execute(insertEvents([written]));
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}
const slow = 'select pg_sleep(0.2)';

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  pool = new pg.Pool({ connectionString: server.url });
  await migrate(fromPool(pool), migrationsOf({ modules: [] }));
  await pool.query('create table orders (id serial primary key)');
  const site = express();
  site.use('/hurried', plimsollContext({ requestTimeoutMs: 50 }));
  site.use('/patient', plimsollContext());
  site.post('/hurried/orders', async (_request, response) => {
    await order(slow);
    response.json('ordered');
  });
  site.post('/hurried/detached', async (_request, response) => {
    // #region detach
    const { correlationId, key, caller } = currentContext() ?? createContext();
    // Neither deadline nor signal: what it writes does not depend on whether the client still waits.
    await runInContext(createContext({ correlationId, key, caller }), () => order(slow));
    // #endregion
    response.json('ordered');
  });
  site.post('/patient/gone', async (request, response) => {
    const context = currentContext()!;
    arrived.resolve();
    await new Promise((resolve) => context.signal!.addEventListener('abort', resolve, { once: true }));
    const { correlationId, key, caller } = context;
    const detached = request.headers['x-detached'] !== undefined;
    const ordering = detached
      ? runInContext(createContext({ correlationId, key, caller }), () => order('select 1'))
      : order('select 1');
    outcome.resolve(
      await ordering.then(
        () => 'ordered',
        (error: unknown) => error,
      ),
    );
    response.end();
  });
  site.use(
    (error: Error, _request: express.Request, response: express.Response, _next: express.NextFunction) => {
      response.status(500).json((error as { code?: string }).code);
    },
  );
  http = site.listen(0, '127.0.0.1');
  await once(http, 'listening');
  ({ port } = http.address() as AddressInfo);
});
afterAll(async () => {
  http?.closeAllConnections();
  await new Promise((resolve) => (http === undefined ? resolve(0) : http.close(resolve)));
  await pool?.end();
  await server?.drop();
});
beforeEach(async () => {
  arrived = Promise.withResolvers();
  outcome = Promise.withResolvers();
  await pool.query('truncate orders, plimsoll.outbox');
});

const post = async (path: string): Promise<unknown> => {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST' });
  return [answer.status, await answer.json()];
};
const left = async (): Promise<unknown> =>
  (
    await pool.query<Record<string, number>>(
      'select (select count(*) from orders)::int as orders, (select count(*) from plimsoll.outbox)::int as events',
    )
  ).rows[0];

test('an event after the deadline is PL_DEADLINE, and the transaction of the old route rolls back', async () => {
  expect(await post('/hurried/orders')).toEqual([500, 'PL_DEADLINE']);
  expect(await left()).toEqual({ orders: 0, events: 0 });
});

test('work in a context of its own outlives the deadline of its request', async () => {
  expect(await post('/hurried/detached')).toEqual([200, 'ordered']);
  expect(await left()).toEqual({ orders: 1, events: 1 });
});

async function leave(headers: string): Promise<unknown> {
  const client = connect(port, '127.0.0.1');
  client.on('error', () => undefined);
  client.write(`POST /patient/gone HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n${headers}\r\n`);
  await arrived.promise;
  client.destroy();
  return outcome.promise;
}

test('an event after the client has gone is PL_ABORTED, and the transaction of the old route rolls back', async () => {
  expect(await leave('')).toMatchObject({ code: 'PL_ABORTED' });
  expect(await left()).toEqual({ orders: 0, events: 0 });
});

test('work in a context of its own goes on when the client has gone', async () => {
  expect(await leave('x-detached: yes\r\n')).toBe('ordered');
  expect(await left()).toEqual({ orders: 1, events: 1 });
});
