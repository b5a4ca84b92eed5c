import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { command, contract, createApp, event, module, plan, saga, sql, type App } from '../index.ts';
import { untilIdle } from './until-idle.ts';

const notes = contract('notes', {
  write: command({ input: z.object({ text: z.string() }) }),
  copy: command({ input: z.object({ text: z.string() }) }),
  written: event({ payload: z.object({ text: z.string() }), key: ({ text }) => text }),
  follow: command({ input: z.object({ text: z.string() }) }),
});
const following = saga({ input: notes.follow.input, uses: [notes] }, async (run, { text }) => {
  await run.waitFor('written', notes.written, { key: text });
  if (text === 'odd') throw new Error('odd');
});

let handling: (text: string) => Promise<void>;
const notesModule = module(notes, {
  owns: { schema: 'notes' },
  commands: {
    write: ({ text }, { emit }) => {
      emit(notes.written, { text });
      return Promise.resolve();
    },
    copy: ({ text }) => handling(text),
    follow: async (input, { start }) => void start(following, input, { id: input.text }),
  },
  on: (on) => [
    on(notes.written, { name: 'copier', maxAttempts: 1 }, ({ text }, { enqueue }) => {
      if (text === 'doomed') return Promise.reject(new Error('never'));
      enqueue(notes.copy, { text });
      return Promise.resolve();
    }),
  ],
  sagas: { following },
});
const thePlan = plan({
  name: 'notes',
  modules: [notesModule],
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 100, errorRate: 0 } },
});

let database: TestDatabase;
let app: App;
beforeEach(async () => {
  database = await createTestDatabase(inject('cluster'));
  app = createApp(thePlan, { databaseUrl: database.url, listen: false });
  await app.start();
});
afterEach(async () => {
  await app.stop();
  await database.drop();
});

test('it waits for the event, its delivery and the job that came of it', async () => {
  const copied: string[] = [];
  handling = (text) => {
    copied.push(text);
    return Promise.resolve();
  };
  // #region until-idle
  await app.call(notes.write, { text: 'hello' });
  await untilIdle(app);
  // #endregion
  expect(copied).toEqual(['hello']);
  await untilIdle(app);
});

test('while something runs it is not idle, and after its time limit it says what is left', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  handling = () => promise;
  await app.call(notes.write, { text: 'slow' });
  await expect.poll(async () => (await app.taskCounts()).running, { timeout: 10_000 }).toBe(1);
  await expect(untilIdle(app, { timeoutMs: 30 })).rejects.toMatchObject({
    code: 'PL_LIFECYCLE',
    message: 'not idle after 30 ms: 0 events and 1 tasks are left',
    data: { outbox: 0, ready: 0, running: 1, parked: 0 },
  });
  resolve();
  await untilIdle(app);
});

test('a parked task ends the wait at once: it would never be done', async () => {
  await app.call(notes.write, { text: 'doomed' });
  await expect(untilIdle(app)).rejects.toMatchObject({
    code: 'PL_LIFECYCLE',
    message: expect.stringContaining('1 tasks are parked') as string,
  });
  expect(await app.database.query(sql`select last_error->>'message' as message from plimsoll.task`)).toEqual([
    { message: 'never' },
  ]);
});

test('a saga that waits for what is not there is idle; one whose event came is not; one that is stuck ends the wait', async () => {
  handling = () => Promise.resolve();
  await app.call(notes.follow, { text: 'one' });
  await untilIdle(app);
  await app.call(notes.write, { text: 'one' });
  await untilIdle(app);
  expect(await app.database.query(sql`select id, state from plimsoll.saga`)).toEqual([
    { id: 'notes.following/one', state: 'done' },
  ]);
  await app.call(notes.follow, { text: 'odd' });
  await app.call(notes.write, { text: 'odd' });
  await expect(untilIdle(app)).rejects.toMatchObject({
    message: expect.stringContaining('1 sagas are stuck'),
  });
});
