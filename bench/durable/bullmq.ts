import { createPostgresBackend, Queue, withBackend, Worker } from 'bullmq';
import { poolOf } from './pool.ts';
import { effectInsert, type Servers, type Subject } from './subject.ts';

const name = 'job';
const kept = { removeOnComplete: true, removeOnFail: true };

function bullmqOn(store: 'Redis' | 'PostgreSQL'): Subject {
  const concurrency = store === 'Redis' ? 50 : 32;
  const connectionOf = ({ redisUrl, databaseUrl }: Servers): { host: string; port: number } | string =>
    store === 'Redis' ? { host: '127.0.0.1', port: Number(new URL(redisUrl).port) } : databaseUrl;
  const postgres = withBackend(createPostgresBackend);
  const queueOf = (
    servers: Servers,
  ): Pick<Queue, 'add' | 'addBulk' | 'getJobCounts' | 'close' | 'waitUntilReady'> =>
    store === 'Redis'
      ? new Queue(name, { connection: connectionOf(servers) as { port: number } })
      : (new postgres.Queue(name, {
          connection: { connectionString: servers.databaseUrl, migrate: true },
        }) as unknown as Queue);
  return {
    name: `BullMQ on ${store}`,
    setting: `6.7.0, concurrency ${concurrency}, removeOnComplete${store === 'Redis' ? '; Redis with appendonly, appendfsync everysec' : ''}; a job that writes commits it before it ends`,
    onPostgres: store === 'PostgreSQL',
    slow: store === 'PostgreSQL',
    async prepare(servers) {
      const queue = queueOf(servers);
      await queue.waitUntilReady();
      await queue.close();
    },
    async open(servers) {
      const queue = queueOf(servers);
      const pool = poolOf({ connectionString: servers.databaseUrl, max: 20 });
      return {
        add: (n) => queue.add(name, { n }, kept),
        addMany: (numbers) => queue.addBulk(numbers.map((n) => ({ name, data: { n }, opts: kept }))),
        async work(work, onStart) {
          const handle = async (job: { readonly data: { readonly n: number } }): Promise<void> => {
            await onStart(job.data.n);
            if (work === 'one write') await pool.query(effectInsert, [job.data.n]);
          };
          const worker =
            store === 'Redis'
              ? new Worker<{ n: number }>(name, handle, {
                  connection: connectionOf(servers) as { port: number },
                  concurrency,
                })
              : new postgres.Worker<{ n: number }>(name, handle, {
                  connection: { connectionString: servers.databaseUrl },
                  concurrency,
                });
          worker.on('error', () => undefined);
          await worker.waitUntilReady();
          return () => worker.close();
        },
        async left() {
          const counts = await queue.getJobCounts('waiting', 'active', 'delayed', 'prioritized');
          return Object.values(counts).reduce((sum, count) => sum + count, 0);
        },
        async close() {
          await queue.close();
          await pool.end();
        },
      };
    },
  };
}

export const bullmq: readonly Subject[] = [bullmqOn('Redis'), bullmqOn('PostgreSQL')];
