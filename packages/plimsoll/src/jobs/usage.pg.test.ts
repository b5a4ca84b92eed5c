import { randomUUID } from 'node:crypto';
import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
// #region usage
import { createContext } from 'plimsoll';
import { createDatabase, migrate, sql } from 'plimsoll/database';
import { createWorker, insertTasks, jobHandler, jobMigrations, newJob } from 'plimsoll/jobs';
import { createLogger, logChannels } from 'plimsoll/telemetry';

async function usage(url: string, logger = createLogger({ name: 'billing' })): Promise<AsyncDisposable> {
  const database = createDatabase({ url });
  await migrate(database, [jobMigrations]);
  await database.execute(sql`create table invoice (order_id bigint not null)`);
  // Without an app nobody else prints what a worker tells: retries, parked jobs, a database that is away.
  const stopLogs = logChannels(database.scope, logger);

  // Effect and completion in one transaction: the effect is there once, whoever dies and whenever.
  const bill = jobHandler<{ orderId: number }>(database, async ({ orderId }, { tx }) => {
    await tx.execute(sql`insert into invoice values (${orderId})`);
  });
  const worker = createWorker({ database, handlers: new Map([['billing.bill', bill]]), concurrency: 4 });
  await worker.start();

  await database.transaction(async (tx) => {
    const job = newJob(createContext(), { id: randomUUID(), name: 'billing.bill', input: { orderId: 42 } });
    await tx.execute(insertTasks([job])); // exists exactly when this transaction commits
  });
  worker.wake();
  // #endregion
  return {
    async [Symbol.asyncDispose]() {
      await worker.stop();
      stopLogs();
      await database.close();
    },
  };
}

test('jobs work without modules and without an app, and their log says done, and parked as an error', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const lines: unknown[] = [];
  const logger = createLogger({
    name: 'billing',
    destination: { write: (line) => void lines.push(JSON.parse(line)) },
  });
  try {
    await using database = createDatabase({ url: server.url });
    await using running = await usage(server.url, logger);
    expect(running).toBeDefined();
    await expect
      .poll(() => database.query(sql`select * from invoice`), { timeout: 10_000 })
      .toEqual([{ order_id: 42 }]);
    const hopeless = newJob(createContext({ correlationId: 'request-7' }), {
      id: randomUUID(),
      name: 'billing.bill',
      input: {},
      maxAttempts: 1,
    });
    await database.execute(insertTasks([hopeless]));
    await expect
      .poll(() => lines, { timeout: 10_000 })
      .toMatchObject([
        { level: 30, task: 'billing.bill', outcome: 'done' },
        { level: 50, task: 'billing.bill', outcome: 'parked', correlationId: 'request-7', err: {} },
      ]);
  } finally {
    await server.drop();
  }
});

test('a slow job on a worker of its own holds up nobody', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const release = Promise.withResolvers<void>();
  const done: string[] = [];
  const buildReport = async (): Promise<void> => {
    await release.promise;
    done.push('report');
  };
  const sendMail = async (): Promise<void> => void done.push('mail');
  try {
    await using database = createDatabase({ url: server.url });
    await migrate(database, [jobMigrations]);
    // #region slow
    const reports = new Map([['reports.build', jobHandler(database, buildReport)]]);
    const mails = new Map([['mails.send', jobHandler(database, sendMail)]]);
    const slow = createWorker({ database, handlers: reports, concurrency: 2 });
    const quick = createWorker({ database, handlers: mails });
    // #endregion
    await slow.start();
    await quick.start();
    try {
      const job = (name: string): ReturnType<typeof newJob> =>
        newJob(createContext(), { id: randomUUID(), name, input: null });
      const many = Array.from({ length: 20 }, () => job('reports.build'));
      await database.execute(insertTasks([...many, job('mails.send')]));
      await expect.poll(() => done, { timeout: 10_000 }).toEqual(['mail']);
      const running = sql`select count(*)::int as n from plimsoll.task where state = 'running'`;
      await expect.poll(() => database.one(running), { timeout: 10_000 }).toEqual({ n: 2 });
      release.resolve();
      await expect.poll(() => done, { timeout: 10_000 }).toHaveLength(21);
    } finally {
      release.resolve();
      await quick.stop();
      await slow.stop();
    }
  } finally {
    await server.drop();
  }
});
