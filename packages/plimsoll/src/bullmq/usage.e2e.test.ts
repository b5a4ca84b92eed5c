import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
// #region usage
import { Redis } from 'ioredis';
import { createBullmqJobs, type BullmqJobs } from 'plimsoll/bullmq';
import { retry, type RunningJob } from 'plimsoll/jobs';

interface Mail {
  readonly to: string;
}

async function usage(url: string, send: (key: string, mail: Mail) => Promise<'sent' | 'later'>) {
  // BullMQ wants no limit of retries. The client stays yours: without a listener, a lost connection ends the process.
  const connection = new Redis(url, { maxRetriesPerRequest: null });
  connection.on('error', () => undefined);
  const jobs = createBullmqJobs({ connection, names: ['mails.send', 'mails.digest'] });

  const worker = jobs.work(
    new Map([
      [
        'mails.send',
        async (mail: Mail, { task }: RunningJob) => {
          // At least once: the same key on every try, so that the outside can tell.
          const answer = await send(task.id, mail);
          return answer === 'later' ? retry({ delayMs: 0, reason: 'the server is busy' }) : answer;
        },
      ],
    ]),
    { concurrency: 20, lockMs: 10_000 },
  );
  await worker.start();

  const id = await jobs.add('mails.send', { to: 'ada@example.com' }, { keepResult: true, maxAttempts: 5 });
  const close = async (): Promise<void> => {
    await worker.stop();
    await jobs.close();
    connection.disconnect();
  };
  return { jobs, id, close };
}
// #endregion
// #region relay
import type { Database } from 'plimsoll/database';
import { createWorker, type Worker } from 'plimsoll/jobs';

/** Jobs of this name are enqueued with `insertTasks`, in your transactions, and run where `jobs.work` does. */
function relayOf(database: Database, jobs: BullmqJobs): Worker {
  return createWorker({
    database,
    handlers: new Map([['mails.send', jobs.relay(database)]]),
    concurrency: 50,
  });
}
// #endregion
import { createContext } from 'plimsoll';
import { createDatabase, migrate } from 'plimsoll/database';
import { insertTasks, jobMigrations, newJob, newTaskId } from 'plimsoll/jobs';
import { noRedis, startRedis } from '../redis/fixtures/redis-server.ts';

const soon = { timeout: 20_000, interval: 10 };

test('a job in Redis, and one that a transaction has sent there', async (ctx) => {
  if (noRedis !== undefined) return ctx.skip(noRedis);
  const redis = await startRedis();
  const server = await createTestDatabase(inject('cluster'));
  const answers: ('sent' | 'later')[] = ['later', 'sent'];
  const keys: string[] = [];
  const { jobs, id, close } = await usage(redis.url, async (key) => {
    keys.push(key);
    return answers.shift() ?? 'sent';
  });
  try {
    await expect.poll(() => jobs.status(id), soon).toMatchObject({ state: 'done', result: 'sent' });
    expect(keys).toEqual([id, id]);
    await using database = createDatabase({ url: server.url });
    await migrate(database, [jobMigrations]);
    await using relay = relayOf(database, jobs);
    await relay.start();
    const job = newJob(createContext(), {
      id: newTaskId(),
      name: 'mails.send',
      input: { to: 'b@example.com' },
    });
    await database.transaction((tx) => tx.execute(insertTasks([job])));
    await expect.poll(() => keys, soon).toContain(job.id);
  } finally {
    await close();
    await server.drop();
    await redis.stop();
  }
  return undefined;
});
