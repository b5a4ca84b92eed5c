import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { sql } from '../database/sql.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { approveSaga, compensateSaga } from '../saga/decisions.ts';
import { showSaga } from '../saga/read.ts';
import { saga } from '../saga/saga.ts';
import { skipParked } from '../outbox/parked.ts';
import { createJobs } from '../jobs/create-jobs.ts';
import { command, contract, event, membersOf } from './contract.ts';
import { eraseSubject, type Erasure } from './erase-subject.ts';
import { module } from './module.ts';

/** What must be nowhere in the end, in any spelling of it. */
const secret = /lovelace/i;

// #region personal
const person = z.object({ id: z.string(), name: z.string() });
const personal = {
  subject: ({ id }: z.output<typeof person>) => id,
  erase: ({ id }: z.input<typeof person>) => ({ id, name: 'erased' }),
};
const visits = contract('visits', {
  // Of its jobs, and of the answers that are recorded under its keys.
  greet: command({ input: person, output: z.object({ said: z.string() }), personal }),
  book: command({ input: person, personal }),
  booked: event({ payload: person, key: ({ id }) => id, personal }),
});
const visit = saga({ input: person, uses: [visits], personal }, async (run, input) => {
  const { said } = await run.step('greet', visits.greet, input, { compensate: () => [visits.greet, input] });
  // #endregion
  await run.child('rest', rest, { id: input.id, said });
  if (input.id.startsWith('waits')) await run.approval('leave');
  return said;
});
/** Does not say whose data it has: it has that of its parent. */
const rest = saga(
  { input: z.object({ id: z.string(), said: z.string() }), uses: [visits] },
  async (run, { id, said }) => {
    await run.step('again', visits.greet, { id, name: said });
  },
);

/** What `greet` does instead, while it is set. */
let broken = false;
const visitsModule = module(visits, {
  owns: { schema: 'visits' },
  commands: {
    async greet({ id, name }, { tx }) {
      // As a handler that quotes what it was given.
      if (broken) throw new Error(`nobody of the name ${name}`);
      await tx.execute(sql`insert into visits.greeted (id) values (${id})`);
      return { said: `hello ${name}` };
    },
    async book(input, { emit, start }) {
      emit(visits.booked, input);
      start(visit, input, { id: input.id });
    },
  },
  on: (on) => [
    on(visits.booked, { name: 'tell', maxAttempts: 1 }, async ({ name }) => {
      if (broken) throw new Error(`${name} cannot be told`);
    }),
  ],
  sagas: { visit, rest },
});

let server: TestDatabase;
let app: App;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(
    plan({
      name: 'erase-work',
      modules: [visitsModule],
      worker: { pollMs: 20 },
      boundaries: { statements: 'off' },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
    }),
    { databaseUrl: server.url, listen: false },
  );
  await app.start();
  await app.database.execute(sql`create schema visits; create table visits.greeted (id text)`);
});
afterAll(async () => {
  await app.stop();
  await server.drop();
});
beforeEach(() => {
  broken = false;
});

const book = (id: string, name = 'Ada Lovelace'): Promise<unknown> =>
  runInContext(createContext({ key: `book ${id}` }), () => app.call(visits.book, { id, name }));
const greet = (id: string): Promise<unknown> =>
  runInContext(createContext({ key: `greet ${id}` }), () =>
    app.call(visits.greet, { id, name: 'Ada Lovelace' }),
  );
const erase = (subject: string): Promise<Erasure> =>
  eraseSubject(app.database, membersOf(visits), { subject, by: 'grace', why: 'article 17' });
const stateOf = async (id: string): Promise<string> =>
  (await showSaga(app.database, `visits.visit/${id}`)).state;

/** Every row of every table of Plimsoll that shows the secret. */
async function rowsThatShow(pattern: RegExp): Promise<string[]> {
  const tables = await app.database.query<{ name: string }>(sql`
    select c.relname as name from pg_class c where c.relnamespace = 'plimsoll'::regnamespace and c.relkind in ('r', 'p')`);
  const found: string[] = [];
  for (const { name } of tables) {
    const rows = await app.database.query<{ row: object }>(
      sql`select to_jsonb(t) as row from ${sql.id('plimsoll', name)} t`,
    );
    for (const { row } of rows)
      if (pattern.test(JSON.stringify(row))) found.push(`${name}: ${JSON.stringify(row)}`);
  }
  return found;
}
const parkedOf =
  (kind: string): (() => Promise<unknown>) =>
  () =>
    app.database.one(
      sql`select count(*)::int as n from plimsoll.task where kind = ${kind} and state = 'parked'`,
    );

test('nothing that Plimsoll keeps shows a person any more: events, dead letters, sagas with their children, answers', async () => {
  await greet('7');
  await book('7');
  await expect.poll(() => stateOf('7'), { timeout: 10_000 }).toBe('done');
  broken = true;
  const jobs = createJobs({ database: app.database });
  const input = { id: '7', name: 'Ada Lovelace' };
  const job = await jobs.add(visits.greet.id, input, { maxAttempts: 1 });
  await jobs.add(visits.greet.id, { id: '8', name: 'Grace' }, { delayMs: 3_600_000 });
  await book('skipped-7');
  await expect.poll(parkedOf('delivery'), { timeout: 10_000 }).toEqual({ n: 1 });
  await skipParked(app.database, { key: 'skipped-7' }, { by: 'grace', why: 'a test' });
  await app.database.execute(sql`update plimsoll.event set subject = '7' where key = 'skipped-7'`);
  await app.database.execute(sql`delete from plimsoll.saga where id = 'visits.visit/skipped-7'`);
  await app.database.execute(sql`delete from plimsoll.saga_step where saga = 'visits.visit/skipped-7'`);
  await app.database.execute(
    sql`delete from plimsoll.task where payload->>'saga' = 'visits.visit/skipped-7'`,
  );
  await expect.poll(parkedOf('job'), { timeout: 10_000 }).toEqual({ n: 1 });
  const shown = await rowsThatShow(secret);
  for (const table of ['event', 'inbox', 'task', 'saga', 'saga_step', 'idempotency'])
    expect(shown.map((row) => row.split(':', 1)[0])).toContain(table);

  expect(await erase('7')).toMatchObject({ events: 2, jobs: 1, sagas: 2, left: [], complete: true });

  expect(await rowsThatShow(secret)).toEqual([]);
  expect(await erase('7')).toMatchObject({
    events: 0,
    deliveries: 0,
    jobs: 0,
    sagas: 0,
    answers: 0,
    left: [],
  });
  // What is left goes on: the dead letter is tried again, and the key is still used up.
  expect(await jobs.deadLetters()).toMatchObject([
    {
      id: job,
      payload: { id: '7', name: 'erased' },
      error: { message: 'erased with the personal data of its subject' },
    },
  ]);
  broken = false;
  await jobs.replay({ ids: [job] });
  await expect.poll(parkedOf('job'), { timeout: 10_000 }).toEqual({ n: 0 });
  await expect(greet('7')).rejects.toMatchObject({ code: 'PL_IDEMPOTENCY_NOT_KEPT' });
  // What it did can still be told, and nothing of it can be undone.
  const { state, erasedAt, history } = await showSaga(app.database, 'visits.visit/7');
  expect([state, typeof erasedAt, history.map(({ kind, name }) => `${kind} ${name ?? ''}`.trim())]).toEqual([
    'done',
    'string',
    expect.arrayContaining(['began greet', 'began rest']) as string[],
  ]);
  await expect(
    compensateSaga(app.database, 'visits.visit/7', { who: 'grace', why: 'too late' }),
  ).rejects.toMatchObject({ code: 'PL_SAGA_STATE' });
  // Others are as they were.
  expect(await rowsThatShow(/"name": ?"Grace"/)).toHaveLength(1);
});

test('a saga that has not ended keeps what it needs, which is told; erased again after its end it has none', async () => {
  await book('waits-9');
  await expect.poll(() => stateOf('waits-9'), { timeout: 10_000 }).toBe('waiting');
  const early = await erase('waits-9');
  expect(early.sagas).toBe(0);
  expect(early.left).toContainEqual({
    kind: 'saga',
    name: 'visits.visit',
    count: 1,
    why: expect.stringContaining('has not ended') as string,
  });
  // With its child, which has ended: to undo the one the other is needed.
  expect((await rowsThatShow(secret)).map((row) => row.split(':', 1)[0])).toEqual(
    expect.arrayContaining(['saga', 'saga_step']),
  );
  await approveSaga(app.database, 'visits.visit/waits-9', { who: 'grace', why: 'enough' });
  await expect.poll(() => stateOf('waits-9'), { timeout: 10_000 }).toBe('done');
  expect(await erase('waits-9')).toMatchObject({ sagas: 2, left: [] });
  expect(await rowsThatShow(secret)).toEqual([]);
});

test("a job whose input its command cannot read may be anybody's, and is told", async () => {
  const jobs = createJobs({ database: app.database });
  const later = { delayMs: 3_600_000 };
  await jobs.add(visits.greet.id, { id: 7 }, later);
  const { left } = await erase('11');
  expect(left).toEqual([
    { kind: 'job', name: 'visits.greet', count: 1, why: expect.stringContaining('id: ') as string },
  ]);
  await app.database.execute(sql`delete from plimsoll.task`);
});

test('the answer of a call stays for the job that made it and may be tried again, and goes when that has ended', async () => {
  const jobs = createJobs({ database: app.database });
  const job = await jobs.add(visits.book.id, { id: '12', name: 'erased' }, { delayMs: 3_600_000 });
  // As a call of its first try, which failed after that, has left it.
  const context = createContext({ key: `${job}/visits.greet.1`, causationId: `job:${job}` });
  await runInContext(context, () => app.call(visits.greet, { id: '12', name: 'Ada Lovelace' }));
  expect(await erase('12')).toMatchObject({ answers: 0, left: [{ kind: 'answer', count: 1 }] });
  await jobs.cancel(job, 'not needed');
  expect(await erase('12')).toMatchObject({ answers: 1, left: [] });
  expect(await rowsThatShow(secret)).toEqual([]);
});
