import { createContext } from 'plimsoll';
import { createDatabase, migrate, sql } from 'plimsoll/database';
import {
  createJobs,
  createWorker,
  insertTasks,
  jobHandler,
  jobMigrations,
  newJob,
  newTaskId,
} from 'plimsoll/jobs';
import type { Subject } from './subject.ts';

const name = 'bench.job';
/** What waits for its group has a slot. */
const concurrency = { nothing: 64, 'one write': 256 } as const;

export const plimsoll: Subject = {
  name: 'plimsoll',
  setting:
    'createJobs and jobHandler alone, pool of 20, concurrency 64; jobs that write: concurrency 256 and a group handler, which commits up to 50 of them with their ends',
  onPostgres: true,
  async prepare({ databaseUrl }) {
    await using database = createDatabase({ url: databaseUrl });
    await migrate(database, [jobMigrations]);
  },
  async open({ databaseUrl }) {
    const database = createDatabase({ url: databaseUrl, pool: { max: 20 } });
    const jobs = createJobs({ database });
    return {
      add: (n) => jobs.add(name, { n }),
      addMany: (numbers) => jobs.addAll(numbers.map((n) => ({ name, input: { n } }))),
      async addIn(client, n) {
        const { text, values } = insertTasks([
          newJob(createContext(), { id: newTaskId(), name, input: { n } }),
        ]).compile();
        await client.query(text, [...values]);
      },
      async work(work, onStart) {
        const nothing = jobHandler<{ n: number }>(database, async ({ n }) => await onStart(n));
        const writing = jobHandler<{ n: number }>(
          database,
          async ({ n }, { tx }) => {
            await onStart(n);
            await tx.execute(sql`insert into effect (n) values (${n})`);
          },
          { group: true },
        );
        const handlers = new Map([[name, work === 'nothing' ? nothing : writing]]);
        const worker = createWorker({ database, handlers, concurrency: concurrency[work] });
        await worker.start();
        return () => worker.stop();
      },
      async left() {
        const { n } = await database.one<{ n: number }>(sql`select count(*)::int as n from plimsoll.task`);
        return n;
      },
      close: () => database.close(),
    };
  },
};
