import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { sql } from '../database/sql.ts';
import { jobStatus } from '../jobs/receipt.ts';
import { command, contract } from './contract.ts';
import { module } from './module.ts';

const reports = contract('reports', {
  order: command({ input: z.object({ kind: z.string() }), output: z.string() }),
  build: command({
    input: z.object({ kind: z.string() }),
    output: z.object({ rows: z.number() }),
    job: { maxAttempts: 2, keepResult: true, priority: -5 },
  }),
});

let ready = false;
const seen: unknown[] = [];
const reportsModule = module(reports, {
  owns: { schema: 'reports' },
  commands: {
    order: async ({ kind }, { enqueue }) => enqueue(reports.build, { kind }),
    async build({ kind }, { job, tx }) {
      seen.push(job === undefined ? undefined : [job.attempt, job.maxAttempts]);
      await tx.query(sql`select 1`);
      if (kind === 'gone') return job?.cancel('nobody wants it') ?? { rows: 0 };
      if (kind === 'hopeless') return job?.retry({ delayMs: 0, reason: 'no data' }) ?? { rows: 0 };
      if (!ready && job !== undefined) {
        ready = true;
        await job.progress('waiting');
        return job.snooze(1);
      }
      return { rows: 3 };
    },
  },
});

let server: TestDatabase;
let app: App;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(
    plan({
      name: 'later',
      modules: [reportsModule],
      worker: { pollMs: 10 },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
    }),
    { databaseUrl: server.url, listen: false },
  );
  await app.start();
});
afterAll(async () => {
  await app?.stop();
  await server?.drop();
});
const status = (id: string): ReturnType<typeof jobStatus> => jobStatus(app.database, id);
const soon = { timeout: 10_000, interval: 10 };

test('a command that runs as a job knows it, may put it off, and its result is kept as its contract says', async () => {
  const id = await app.call(reports.order, { kind: 'sales' });
  await expect.poll(() => status(id), soon).toMatchObject({ state: 'done', result: { rows: 3 } });
  expect(seen).toEqual([
    [1, 2],
    [1, 2],
  ]);
});

test('called at once it is no job', async () => {
  seen.length = 0;
  expect(await app.call(reports.build, { kind: 'sales' })).toEqual({ rows: 3 });
  expect(seen).toEqual([undefined]);
});

test('it may end the job for good, or fail with a reason', async () => {
  const gone = await app.call(reports.order, { kind: 'gone' });
  await expect
    .poll(() => status(gone), soon)
    .toMatchObject({ state: 'cancelled', reason: 'nobody wants it' });
  const hopeless = await app.call(reports.order, { kind: 'hopeless' });
  await expect.poll(() => status(hopeless), soon).toMatchObject({ state: 'failed', attempts: 2 });
});

test('wrong options of a command are told with its contract', () => {
  expect(() => contract('bad', { one: command({ input: z.object({}), job: { maxAttempts: 0 } }) })).toThrow(
    'one.job.maxAttempts: is 0; give a whole number from 1',
  );
});
