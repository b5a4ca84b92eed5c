import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import { poolOf } from './pool.ts';
import { effectInsert, type Subject } from './subject.ts';

const logger = new Logger(() => () => undefined);
const task = 'job';

export const graphileWorker: Subject = {
  name: 'graphile-worker',
  setting:
    '0.18.0, concurrentJobs 24, localQueue.size 500, completeJobBatchDelay 0; a job that writes commits it before it ends',
  onPostgres: true,
  async prepare({ databaseUrl }) {
    const utils = await makeWorkerUtils({ connectionString: databaseUrl, logger });
    await utils.migrate();
    await utils.release();
  },
  async open({ databaseUrl }) {
    const pgPool = poolOf({ connectionString: databaseUrl, max: 20 });
    const utils = await makeWorkerUtils({ pgPool, logger });
    return {
      add: (n) => utils.addJob(task, { n }),
      addMany: (numbers) => utils.addJobs(numbers.map((n) => ({ identifier: task, payload: { n } }))),
      addIn: (client, n) =>
        client.query('select graphile_worker.add_job($1, $2::json)', [task, JSON.stringify({ n })]),
      async work(work, onStart) {
        const runner = await run({
          pgPool,
          logger,
          noHandleSignals: true,
          preset: {
            worker: {
              concurrentJobs: 24,
              localQueue: { size: 500 },
              completeJobBatchDelay: 0,
              failJobBatchDelay: 0,
            },
          },
          taskList: {
            async [task](payload, helpers) {
              const { n } = payload as { n: number };
              await onStart(n);
              if (work === 'one write')
                await helpers.withPgClient((client) => client.query(effectInsert, [n]));
            },
          },
        });
        return () => runner.stop();
      },
      async left() {
        const { rows } = await pgPool.query<{ n: number }>(
          'select count(*)::int as n from graphile_worker._private_jobs',
        );
        return rows[0]?.n ?? 0;
      },
      async close() {
        await utils.release();
        await pgPool.end();
      },
    };
  },
};
