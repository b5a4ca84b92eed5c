import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { runPlimsoll, type Ended } from '../fixtures/run-plimsoll.ts';
import { createApp, type App, type Plan } from 'plimsoll';
import { sql } from 'plimsoll/database';
import { createJobs, type Jobs } from 'plimsoll/jobs';

let server: TestDatabase;
let folder: string;
let app: App;
let queue: Jobs;

const planText = `
import { command, contract, module, plan } from 'plimsoll';
import { z } from 'zod';
const mails = contract('mails', { send: command({ input: z.object({ to: z.string() }) }) });
const mailsModule = module(mails, {
  owns: { schema: 'mails' },
  commands: {
    async send({ to }) { if (to === 'nobody') throw new Error('the mailbox is unknown'); },
  },
});
export default plan({
  name: 'jobs-test', modules: [mailsModule], expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 1000, errorRate: 0.01 } },
});
`;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  folder = await mkdtemp(join(import.meta.dirname, '.jobs-'));
  const file = join(folder, 'plimsoll.plan.ts');
  await writeFile(file, planText);
  const { default: plan } = (await import(file)) as { default: Plan };
  app = createApp(plan, { databaseUrl: server.url, listen: false });
  await app.start();
  queue = createJobs({ database: app.database });
});
afterAll(async () => {
  await app.stop();
  await server.drop();
  await rm(folder, { recursive: true, force: true });
});

const jobs = (...args: readonly string[]): Promise<Ended> =>
  runPlimsoll(['jobs', ...args], { cwd: folder, databaseUrl: server.url });

test('a dead letter is found, shown, and goes back to work only when it is named', async () => {
  const id = await queue.add('mails.send', { to: 'nobody' }, { maxAttempts: 1 });
  await expect.poll(() => queue.deadLetters(), { timeout: 20_000 }).toHaveLength(1);
  expect((await jobs('queues')).out).toMatch(/mails\.send +0 +0 +0 +0 +1/);
  expect((await jobs('dead')).out).toContain('the mailbox is unknown');
  const shown = await jobs('show', id);
  expect(shown.out).toContain('state       parked');
  expect(shown.out).toContain('"to":"nobody"');

  const unnamed = await jobs('replay');
  expect(unnamed).toMatchObject({ code: 2, out: '' });
  expect(unnamed.err).toContain('Give --id, --name or --code, or --all');
  expect(await jobs('replay', '--name', 'mails.send')).toMatchObject({ code: 0, out: '1 back to work\n' });
  await expect.poll(() => queue.deadLetters(), { timeout: 20_000 }).toHaveLength(1);
  expect(await jobs('discard', '--id', id, '--json')).toMatchObject({
    code: 0,
    out: '{\n  "discarded": 1\n}\n',
  });
  expect((await jobs('dead')).out).toBe('no such dead letter\n');
});

test('a paused command keeps its jobs, one is cancelled, and the rest goes on', async () => {
  expect((await jobs('pause', 'mails.send')).out).toContain('mails.send is paused');
  const { paused } = await app.database.one<{ paused: boolean }>(
    sql`select paused from plimsoll.task_queue where name = 'mails.send'`,
  );
  expect(paused).toBe(true);
  const later = { delayMs: 3_600_000 };
  const [one, other] = [
    await queue.add('mails.send', { to: 'ada' }, later),
    await queue.add('mails.send', { to: 'eve' }, later),
  ];
  const listed = JSON.parse((await jobs('list', '--state', 'scheduled', '--json')).out) as { id: string }[];
  expect(listed.map(({ id }) => id).toSorted()).toEqual([one, other].toSorted());
  expect((await jobs('cancel', one, '--why', 'she has left')).out).toContain('is cancelled');
  expect(await jobs('cancel', one, '--why', 'again')).toMatchObject({ code: 1 });
  expect((await jobs('queues')).out).toMatch(/mails\.send +0 +0 +1 +0 +0 .*paused/);
  expect((await jobs('resume', 'mails.send')).out).toBe('mails.send goes on\n');
});

test('what is wrong is said, with what is allowed', async () => {
  expect((await jobs('list', '--state', 'lost')).err).toContain('must be one of ready, running, scheduled');
  expect((await jobs('show', '7')).err).toContain('"7" is no id of a job');
  expect((await jobs('show', '0190163d-8694-739b-aea5-966c26f8ad91')).err).toContain('there is no job');
  expect((await jobs('cancel')).err).toContain('no job is named');
});
