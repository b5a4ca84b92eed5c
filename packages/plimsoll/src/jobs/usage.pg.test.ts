import { randomUUID } from 'node:crypto';
import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
// #region usage
import { createContext } from 'plimsoll';
import { createDatabase, migrate, sql } from 'plimsoll/database';
import {
  completeTask,
  createWorker,
  insertTasks,
  jobMigrations,
  newJob,
  type TaskHandler,
} from 'plimsoll/jobs';

async function usage(url: string): Promise<AsyncDisposable> {
  const database = createDatabase({ url });
  await migrate(database, [jobMigrations]);
  await database.execute(sql`create table invoice (order_id bigint)`);

  // Effect and completion in one transaction: the effect is there once, whoever dies and whenever.
  const bill: TaskHandler = async (task) => {
    const { orderId } = task.payload as { orderId: number };
    await database.transaction(async (tx) => {
      await tx.execute(sql`insert into invoice values (${orderId})`);
      if ((await tx.execute(completeTask(task))) !== 1) throw new Error('another worker has this task');
    });
  };
  const worker = createWorker({ database, handlers: new Map([['billing.bill', bill]]), concurrency: 4 });
  await worker.start();

  await database.transaction(async (tx) => {
    const job = newJob(createContext(), { id: randomUUID(), name: 'billing.bill', input: { orderId: 42 } });
    await tx.execute(insertTasks([job])); // exists exactly when this transaction commits
  });
  worker.wake();
  // #endregion
  await expect
    .poll(() => database.query(sql`select * from invoice`), { timeout: 10_000 })
    .toEqual([{ order_id: 42 }]);
  return {
    async [Symbol.asyncDispose]() {
      await worker.stop();
      await database.close();
    },
  };
}

test('jobs work without modules and without an app', async () => {
  const server = await createTestDatabase(inject('cluster'));
  try {
    await using running = await usage(server.url);
    expect(running).toBeDefined();
  } finally {
    await server.drop();
  }
});
