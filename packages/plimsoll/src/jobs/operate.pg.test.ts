import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
import { createDatabase, migrate, sql } from 'plimsoll/database';
import { cancel, createJobs, createWorker, jobHandler, jobMigrations, retry, snooze } from 'plimsoll/jobs';

test('a job says how it goes on, and whoever operates them deals with those that were given up', async () => {
  const server = await createTestDatabase(inject('cluster'));
  let state = 'pending';
  const bank = { ask: async (_key: string, _signal: AbortSignal): Promise<string> => state };
  try {
    await using database = createDatabase({ url: server.url });
    await migrate(database, [jobMigrations]);
    await database.execute(sql`create table paid (order_id bigint not null)`);
    // #region outcomes
    const settle = jobHandler<{ orderId: number }>(
      database,
      async ({ orderId }, { tx, task, signal, progress }) => {
        const answer = await bank.ask(task.id, signal);
        if (answer === 'pending') return snooze(1_000); // not now; uses up no attempt
        if (answer === 'closed') return retry({ delayMs: 60_000, reason: 'the bank is closed' }); // a failed attempt
        if (answer === 'refunded') return cancel('was paid back'); // for good, and no dead letter
        await progress({ asked: true });
        await tx.execute(sql`insert into paid values (${orderId})`);
        return { orderId }; // kept where the job was enqueued with `keepResult`
      },
    );
    // #endregion
    const worker = createWorker({ database, handlers: new Map([['payments.settle', settle]]), pollMs: 10 });
    await worker.start();
    try {
      // #region operate
      const jobs = createJobs({ database, announce: worker.announce });
      // Resolves when it is committed; many callers at once share a statement.
      const id = await jobs.add(
        'payments.settle',
        { orderId: 42 },
        {
          orderKey: 'order:42', // after those of the same key that were enqueued before
          groupKey: 'tenant:7', // whose turn it is, and whose limits count
          unique: { key: 'settle:42', onDuplicate: 'keep' }, // once, as long as none has begun
          maxAttempts: 3,
          keepResult: true,
        },
      );
      await jobs.limit('payments.settle', { concurrency: 10, perGroup: { concurrency: 2 }, turns: true });
      await jobs.pause('payments.settle');
      await jobs.resume('payments.settle');
      // #endregion
      state = 'paid';
      await expect
        .poll(() => jobs.status(id), { timeout: 10_000 })
        .toMatchObject({ state: 'done', result: { orderId: 42 } });
      state = 'closed';
      const closed = await jobs.add('payments.settle', { orderId: 43 }, { maxAttempts: 1 });
      await expect.poll(() => jobs.status(closed), { timeout: 10_000 }).toMatchObject({ state: 'failed' });
      state = 'paid';
      const told: string[] = [];
      const tell = (line: string): void => void told.push(line);
      // #region dead-letters
      for (const { id, error, attempts, parkedAt } of await jobs.deadLetters({ name: 'payments.settle' }, 10))
        tell(`${id} parked at ${parkedAt.toISOString()} after ${attempts} tries: ${error?.message}`);
      await jobs.replay({ name: 'payments.settle', parkedAfter: new Date(Date.now() - 3_600_000) });
      await jobs.discard({ ids: [closed] });
      await jobs.cancel(id, 'changed my mind');
      // #endregion
      expect(told).toEqual([expect.stringContaining('after 1 tries: retry: the bank is closed')]);
      await expect.poll(() => jobs.status(closed), { timeout: 10_000 }).toBeUndefined();
    } finally {
      await worker.stop();
    }
  } finally {
    await server.drop();
  }
});
