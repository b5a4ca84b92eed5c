import pg from 'pg';
import { expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase } from '@plimsoll/embedded';
// #region usage
import { randomUUID } from 'node:crypto';
import { contract, createContext, currentContext, event } from 'plimsoll';
import { migrate, sql } from 'plimsoll/database';
import { createWorker, insertTasks, jobHandler, jobMigrations, newJob } from 'plimsoll/jobs';
import { insertEvents, newEvent, outboxMigrations } from 'plimsoll/outbox';
import { fromClient, fromPool } from 'plimsoll/pg';
import { createLogger, logChannels } from 'plimsoll/telemetry';

const order = contract('order', { placed: event({ payload: z.object({ orderId: z.number() }) }) });

async function usage(pool: pg.Pool, replica: pg.Pool): Promise<AsyncDisposable> {
  const database = fromPool(pool, { replicas: [replica] });
  await migrate(database, [jobMigrations, outboxMigrations]);
  const stopLogs = logChannels(database.scope, createLogger({ name: 'orders', level: 'warn' }));

  const invoice = jobHandler<{ orderId: number }>(database, async ({ orderId }, { tx }) => {
    await tx.execute(sql`insert into invoices (order_id) values (${orderId})`);
  });
  const worker = createWorker({ database, handlers: new Map([['orders.invoice', invoice]]) });
  await worker.start();

  // Your code as it was, with a few lines more before its COMMIT.
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('INSERT INTO orders (id) VALUES ($1)', [42]);
    const context = currentContext() ?? createContext();
    const tx = fromClient(client);
    await tx.execute(insertEvents([newEvent(context, order.placed, { orderId: 42 })]));
    const job = newJob(context, { id: randomUUID(), name: 'orders.invoice', input: { orderId: 42 } });
    await tx.execute(insertTasks([job]));
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
  worker.wake();

  // Reads that may be a little old, off the primary.
  const recent = await database.readOnly((db) =>
    db.query(sql`select id from orders order by id desc limit 10`),
  );
  // #endregion
  expect(recent.length).toBeLessThanOrEqual(1);
  await expect
    .poll(async () => (await pool.query('select order_id from invoices')).rows as unknown, {
      timeout: 10_000,
    })
    .toEqual([{ order_id: 42 }]);
  expect((await pool.query('select type, payload from plimsoll.outbox')).rows).toEqual([
    { type: 'order.placed', payload: { orderId: 42 } },
  ]);
  return {
    async [Symbol.asyncDispose]() {
      await worker.stop();
      stopLogs();
    },
  };
}

test('events and jobs in a transaction that the user opened, on pools that the user made', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const pool = new pg.Pool({ connectionString: server.url });
  const replica = new pg.Pool({ connectionString: server.replicaUrls[0]! });
  try {
    await pool.query('create table orders (id int primary key); create table invoices (order_id int)');
    // The replica learns of the table when it replays its creation.
    await expect
      .poll(() =>
        replica.query('select 1 from orders').then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
    await using running = await usage(pool, replica);
    expect(running).toBeDefined();
  } finally {
    await pool.end();
    await replica.end();
    await server.drop();
  }
});
