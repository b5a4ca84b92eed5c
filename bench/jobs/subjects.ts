import { Logger, run as runGraphile, makeWorkerUtils, type Runner, type WorkerUtils } from 'graphile-worker';
import { PgBoss } from 'pg-boss';
import { createDatabase, migrate, sql } from 'plimsoll/database';
import { createJobs, createWorker, jobHandler, jobMigrations, type Worker } from 'plimsoll/jobs';

/** What a job of the case does; its number comes from the payload. */
export type Effect = 'nothing' | 'row';

export interface Subject {
  readonly name: string;
  readonly setting: string;
  open(url: string, effect: Effect, started: (n: number) => void): Promise<Opened>;
}

export interface Opened {
  /** One, awaited until it is committed. */
  add(n: number): Promise<unknown>;
  addAll(numbers: readonly number[]): Promise<unknown>;
  /** Begins to work; resolves when it is ready to. */
  work(): Promise<void>;
  /** How many jobs are not done yet. */
  left(): Promise<number>;
  close(): Promise<void>;
}

const insertEffect = 'insert into effect (n) values ($1)';

export function plimsoll(group: boolean): Subject {
  return {
    name: group ? 'plimsoll, group' : 'plimsoll',
    setting: `createJobs and createWorker, concurrency 50, pool of 10${group ? ', jobs share transactions' : ', a transaction each where it writes'}`,
    async open(url, effect, started) {
      const database = createDatabase({ url });
      await migrate(database, [jobMigrations]);
      const handler = jobHandler<{ n: number }>(
        database,
        async ({ n }, { tx }) => {
          started(n);
          if (effect === 'row') await tx.execute(sql`insert into effect (n) values (${n})`);
        },
        { group },
      );
      const worker: Worker = createWorker({
        database,
        handlers: new Map([['work', handler]]),
        concurrency: 50,
      });
      const jobs = createJobs({ database, announce: worker.announce });
      return {
        add: (n) => jobs.add('work', { n }),
        addAll: (numbers) => jobs.addAll(numbers.map((n) => ({ name: 'work', input: { n } }))),
        work: () => worker.start(),
        left: async () =>
          (await database.one<{ n: number }>(sql`select count(*)::int as n from plimsoll.task`)).n,
        async close() {
          await worker.stop();
          await database.close();
        },
      };
    },
  };
}

export const graphile: Subject = {
  name: 'graphile-worker',
  setting:
    'concurrentJobs 24, localQueue.size 500, completeJobBatchDelay 0, pool of 10; the effect commits by itself',
  async open(connectionString, effect, started) {
    const utils: WorkerUtils = await makeWorkerUtils({ connectionString, maxPoolSize: 10 });
    await utils.migrate();
    let runner: Runner | undefined;
    return {
      add: (n) => utils.addJob('work', { n }),
      addAll: (numbers) => utils.addJobs(numbers.map((n) => ({ identifier: 'work', payload: { n } }))),
      async work() {
        runner = await runGraphile({
          connectionString,
          maxPoolSize: 10,
          noHandleSignals: true,
          logger: new Logger(() => () => undefined),
          preset: {
            worker: {
              concurrentJobs: 24,
              localQueue: { size: 500 },
              completeJobBatchDelay: 0,
              failJobBatchDelay: 0,
            },
          },
          taskList: {
            async work(payload, helpers) {
              const { n } = payload as { n: number };
              started(n);
              if (effect === 'row') await helpers.query(insertEffect, [n]);
            },
          },
        });
      },
      async left() {
        const { rows } = await utils.withPgClient((client) =>
          client.query<{ n: number }>('select count(*)::int as n from graphile_worker.jobs'),
        );
        return rows[0]?.n ?? 0;
      },
      async close() {
        await runner?.stop();
        await utils.release();
      },
    };
  },
};

export const pgBoss: Subject = {
  name: 'pg-boss',
  setting:
    'batchSize 500, two workers, pollingIntervalSeconds 0.5, burstWhenBatchFull, pool of 10; with an effect: transactional',
  async open(connectionString, effect, started) {
    const boss = new PgBoss({ connectionString, max: 10, supervise: false, schedule: false });
    boss.on('error', () => undefined);
    await boss.start();
    await boss.createQueue('work');
    return {
      add: (n) => boss.send('work', { n }),
      addAll: (numbers) =>
        boss.insert(
          'work',
          numbers.map((n) => ({ data: { n } })),
        ),
      async work() {
        const options = { batchSize: 500, pollingIntervalSeconds: 0.5, burstWhenBatchFull: true } as const;
        for (let worker = 0; worker < 2; worker += 1) {
          if (effect === 'row')
            await boss.work<{ n: number }>('work', { ...options, transactional: true }, async (batch, tx) => {
              for (const { data } of batch) {
                started(data.n);
                await tx.executeSql(insertEffect, [data.n]);
              }
            });
          else
            await boss.work<{ n: number }>('work', options, async (batch) => {
              for (const { data } of batch) started(data.n);
            });
        }
      },
      async left() {
        const { rows } = await boss
          .getDb()
          .executeSql(
            "select count(*)::int as n from pgboss.job where name = 'work' and state in ('created', 'active', 'retry')",
            [],
          );
        return (rows[0] as { n: number }).n;
      },
      close: () => boss.stop({ graceful: false }),
    };
  },
};
