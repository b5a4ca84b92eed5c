import { expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase } from '@plimsoll/embedded';
// #region usage
import { contract, createContext, event } from 'plimsoll';
import { createDatabase, migrate, sql } from 'plimsoll/database';
import { createRelay, deliveryHandler, insertEvents, newEvent, outboxMigrations } from 'plimsoll/outbox';
import { createWorker, jobMigrations } from 'plimsoll/jobs';
import { createLogger, logChannels } from 'plimsoll/telemetry';

const order = contract('order', { placed: event({ payload: z.object({ orderId: z.number() }) }) });
type Placed = z.infer<typeof order.placed.payload>;

async function usage(url: string): Promise<AsyncDisposable> {
  const database = createDatabase({ url });
  await migrate(database, [jobMigrations, outboxMigrations]);
  await database.execute(sql`create table mail (order_id bigint primary key)`);
  const stopLogs = logChannels(database.scope, createLogger({ name: 'mail', level: 'warn' }));

  // The effect, the inbox row and the end of the delivery commit together.
  const greet = deliveryHandler<Placed>(database, async ({ orderId }, { tx }) => {
    await tx.execute(sql`insert into mail values (${orderId})`);
  });
  const worker = createWorker({ database, handlers: new Map([['mail.greet', greet]]) });
  const subscription = { name: 'mail.greet', module: 'mail', eventType: order.placed.id, maxAttempts: 20 };
  const relay = createRelay({
    database,
    modules: ['mail'],
    subscriptions: [subscription],
    onMoved: worker.wake,
  });
  await relay.start();
  await worker.start();

  await database.transaction(async (tx) => {
    // Your own writes, and the event that exists exactly when they do.
    await tx.execute(insertEvents([newEvent(createContext(), order.placed, { orderId: 42 })]));
  });
  relay.wake();
  // #endregion
  await expect
    .poll(() => database.query(sql`select * from mail`), { timeout: 10_000 })
    .toEqual([{ order_id: 42 }]);
  return {
    async [Symbol.asyncDispose]() {
      await worker.stop();
      await relay.stop();
      stopLogs();
      await database.close();
    },
  };
}

test('the outbox works without modules and without an app', async () => {
  const server = await createTestDatabase(inject('cluster'));
  try {
    await using running = await usage(server.url);
    expect(running).toBeDefined();
  } finally {
    await server.drop();
  }
});
