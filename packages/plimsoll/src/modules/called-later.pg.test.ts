import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { jobStatus } from '../jobs/receipt.ts';
import { tasks } from '../kernel/channels.ts';
import { command, contract } from './contract.ts';
import { module } from './module.ts';

// #region command
const reports = contract('reports', {
  order: command({ input: z.object({ kind: z.string() }), output: z.string() }),
  build: command({
    input: z.object({ kind: z.string() }),
    output: z.object({ rows: z.number() }),
    // For all jobs of this command; `enqueue` may say otherwise.
    job: { maxAttempts: 2, keepResult: true, priority: -5 },
    jobLimits: { concurrency: 4 },
  }),
});

const reportsModule = module(reports, {
  owns: { schema: 'reports' },
  commands: {
    order: async ({ kind }, { enqueue }) => enqueue(reports.build, { kind }, { orderKey: kind }),
    async build({ kind }, { job, tx }) {
      const source = await findSource(kind, tx);
      // Only a job can be put off; who calls the command wants an answer.
      if (source === 'gone') return job?.cancel('nobody wants it') ?? { rows: 0 };
      if (source === 'broken') return job?.retry({ delayMs: 0, reason: 'no data' }) ?? { rows: 0 };
      if (source === 'not ready' && job !== undefined) {
        await job.progress('waiting for data');
        return job.snooze(1);
      }
      return { rows: 3 };
    },
  },
  schedules: (at) => [
    at(
      'nightly',
      '0 3 * * *',
      reports.build,
      { kind: 'all' },
      { timezone: 'Europe/Zurich', catchUp: 'once' },
    ),
  ],
});
// #endregion

let ready = false;
const outcomes: string[] = [];
const stopListening = tasks.subscribe(({ outcome, name }) => {
  if (name === 'reports.build') outcomes.push(outcome);
});
async function findSource(kind: string, tx: Transaction): Promise<string> {
  await tx.query(sql`select 1`);
  if (kind !== 'sales') return kind;
  const was = ready;
  ready = true;
  return was ? 'ready' : 'not ready';
}

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
  stopListening();
  await app?.stop();
  await server?.drop();
});
const status = (id: string): ReturnType<typeof jobStatus> => jobStatus(app.database, id);
const soon = { timeout: 10_000, interval: 10 };

test('a command that runs as a job may put it off, and its result is kept as its contract says', async () => {
  const id = await app.call(reports.order, { kind: 'sales' });
  await expect.poll(() => status(id), soon).toMatchObject({ state: 'done', result: { rows: 3 } });
  // Told once it has committed, which is when others see it.
  await expect.poll(() => outcomes, soon).toEqual(['snoozed', 'done']);
});

test('called at once it is no job', async () => {
  ready = false;
  expect(await app.call(reports.build, { kind: 'sales' })).toEqual({ rows: 3 });
});

test('it may end the job for good, or fail with a reason', async () => {
  const gone = await app.call(reports.order, { kind: 'gone' });
  await expect
    .poll(() => status(gone), soon)
    .toMatchObject({ state: 'cancelled', reason: 'nobody wants it' });
  const hopeless = await app.call(reports.order, { kind: 'broken' });
  await expect.poll(() => status(hopeless), soon).toMatchObject({ state: 'failed', attempts: 2 });
});

test('wrong options of a command are told with its contract', () => {
  expect(() => contract('bad', { one: command({ input: z.object({}), job: { maxAttempts: 0 } }) })).toThrow(
    'one.job.maxAttempts: is 0; give a whole number from 1',
  );
});

test('its schedules and limits are recorded at the start', async () => {
  expect(await app.database.query(sql`select name, task, payload, timezone from plimsoll.cron`)).toEqual([
    { name: 'reports.nightly', task: 'reports.build', payload: { kind: 'all' }, timezone: 'Europe/Zurich' },
  ]);
  expect(await app.database.query(sql`select name, concurrency from plimsoll.task_queue`)).toEqual([
    { name: 'reports.build', concurrency: 4 },
  ]);
  expect(() =>
    module(reports, {
      owns: { schema: 'reports' },
      commands: { order: async () => '', build: async () => ({ rows: 0 }) },
      // @ts-expect-error: not the input of the command
      schedules: (at) => [at('wrong', '0 3 * * *', reports.build, { kinds: 1 })],
    }),
  ).toThrow('input of the schedule reports.wrong is not valid');
});
