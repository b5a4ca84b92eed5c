import type pg from 'pg';
import { poolOf } from './pool.ts';
import { PgBoss } from 'pg-boss';
import { effectInsert, type Subject } from './subject.ts';

const queue = 'job';

type Connection = NonNullable<NonNullable<Parameters<PgBoss['cancel']>[2]>['db']>;

/** Its client, on one of ours. */
const on = (client: pg.ClientBase): Connection => ({
  executeSql: (text, values) => client.query(text, values as unknown[]),
});

function pgBossWith(notify: boolean): Subject {
  const work = notify
    ? { batchSize: 100, localConcurrency: 4, burstWhenBatchFull: true }
    : { batchSize: 500, localConcurrency: 2, burstWhenBatchFull: true };
  const shown = Object.entries(work).map(([name, value]) => `${name} ${value}`);
  return {
    name: notify ? 'pg-boss, notify' : 'pg-boss',
    setting: `12.38.0, ${shown.join(', ')}${notify ? ', useListenNotify' : ', pollingIntervalSeconds 0.5'}; a job that writes is of a transactional worker`,
    onPostgres: true,
    async prepare({ databaseUrl }) {
      const boss = new PgBoss({ connectionString: databaseUrl });
      boss.on('error', () => undefined);
      await boss.start();
      await boss.createQueue(queue, notify ? { notify: true } : {});
      await boss.stop({ graceful: false });
    },
    async open({ databaseUrl }) {
      const boss = new PgBoss({
        connectionString: databaseUrl,
        max: 20,
        ...(notify ? { useListenNotify: true } : {}),
      });
      boss.on('error', () => undefined);
      await boss.start();
      const pool = poolOf({ connectionString: databaseUrl, max: 1 });
      return {
        add: (n) => boss.send(queue, { n }),
        addMany: (numbers) =>
          boss.insert(
            queue,
            numbers.map((n) => ({ data: { n } })),
          ),
        addIn: (client, n) => boss.send(queue, { n }, { db: on(client) }),
        async work(does, onStart) {
          const options = { ...work, ...(notify ? {} : { pollingIntervalSeconds: 0.5 }) };
          if (does === 'nothing')
            await boss.work<{ n: number }>(queue, options, async (jobs) => {
              for (const { data } of jobs) await onStart(data.n);
            });
          else
            await boss.work<{ n: number }, unknown, typeof options & { readonly transactional: true }>(
              queue,
              { ...options, transactional: true },
              async (jobs, tx) => {
                for (const { data } of jobs) {
                  await onStart(data.n);
                  await tx.executeSql(effectInsert, [data.n]);
                }
              },
            );
          return () => boss.offWork(queue);
        },
        async left() {
          const { rows } = await pool.query<{ n: number }>(
            `select count(*)::int as n from pgboss.job where name = $1 and state < 'completed'`,
            [queue],
          );
          return rows[0]?.n ?? 0;
        },
        async close() {
          await boss.stop({ graceful: false });
          await pool.end();
        },
      };
    },
  };
}

export const pgBoss: readonly Subject[] = [pgBossWith(false), pgBossWith(true)];
