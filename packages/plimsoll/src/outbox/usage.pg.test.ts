import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
// #region usage
import { createDatabase, migrate, sql } from 'plimsoll/database';
import {
  createRelay,
  insertEvents,
  insertInbox,
  outboxMigrations,
  type RecordedEvent,
} from 'plimsoll/outbox';
import { completeTask, createWorker, jobMigrations, type ClaimedTask } from 'plimsoll/jobs';

async function usage(url: string): Promise<AsyncDisposable> {
  const database = createDatabase({ url });
  await migrate(database, [jobMigrations, outboxMigrations]);
  await database.execute(sql`create table mail (order_id bigint primary key)`);

  const greet = async (task: ClaimedTask): Promise<void> => {
    const event = task.payload as RecordedEvent & { payload: { orderId: number } };
    await database.transaction(async (tx) => {
      // No row: the event has had its effect already, and only the task is left to end.
      if ((await tx.execute(insertInbox(task.name, event.id))) === 1) {
        await tx.execute(sql`insert into mail values (${event.payload.orderId})`);
      }
      if ((await tx.execute(completeTask(task))) !== 1) throw new Error('another worker has this task');
    });
  };
  const worker = createWorker({ database, handlers: new Map([['mail.greet', greet]]) });
  const subscription = { name: 'mail.greet', module: 'mail', eventType: 'order.placed', maxAttempts: 20 };
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
    const event = { type: 'order.placed', version: 1, key: '42', payload: { orderId: 42 } };
    await tx.execute(
      insertEvents([{ ...event, correlationId: 'request-7', causationId: undefined, caller: {} }]),
    );
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
