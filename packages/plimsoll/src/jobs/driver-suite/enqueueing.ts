import assert from 'node:assert/strict';
import { createContext, currentContext, runInContext } from '../../kernel/context.ts';
import type { JobOptions } from '../job.ts';
import {
  assertSame,
  eventually,
  newName,
  openOne,
  startWorker,
  untilGone,
  type JobDriverCase,
  type OneName,
} from './harness.ts';

const inputs: readonly unknown[] = [
  null,
  0,
  -1.5,
  '',
  'ü \u{1f600} "quoted" \\ \n',
  true,
  [],
  {},
  [1, [2, { a: null }]],
  { __proto__x: 1, constructor: 'x', 'a b': { deep: [{}] } },
  'x'.repeat(200_000),
];

const wrong: readonly JobOptions[] = [
  { maxAttempts: 0 },
  { priority: 1.5 },
  { timeoutMs: 0 },
  { delayMs: NaN },
  { runAt: new Date(NaN) },
  { unique: { key: '' } },
];

const inAnHour = { delayMs: 3_600_000 };

/** Ids and inputs of those that are there. */
async function ranOf(one: OneName): Promise<unknown[]> {
  const ran: unknown[] = [];
  await using _worker = await startWorker(one, async (input) => void ran.push(input));
  await eventually('one has run', () => ran.length > 0);
  // All others were there before this one, which waits behind them.
  const last = await one.jobs.add(one.name, 'last', { priority: 32_767 });
  await untilGone(one, [last]);
  return ran.filter((input) => input !== 'last');
}

export const enqueueing: readonly JobDriverCase[] = [
  {
    name: 'an input comes back as it was given, whatever JSON it is',
    async run(driver) {
      const one = openOne(driver);
      const ids: string[] = [];
      for (const input of inputs) ids.push(await one.jobs.add(one.name, { input }));
      const ran = new Map<string, unknown>();
      await using _worker = await startWorker(one, async (given, { task }) => void ran.set(task.id, given));
      await eventually('all have run', () => ran.size === inputs.length);
      for (const [n, input] of inputs.entries()) assert.deepEqual(ran.get(ids[n] ?? ''), { input });
    },
  },
  {
    name: 'an input that is no JSON is refused, and it alone',
    async run(driver) {
      const one = openOne(driver);
      const circle: Record<string, unknown> = {};
      circle['self'] = circle;
      const added = await Promise.allSettled([1, 1n, 2, circle, 3].map((n) => one.jobs.add(one.name, n)));
      const expected = ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'];
      assert.deepEqual(
        added.map(({ status }) => status),
        expected,
      );
      assertSame(await ranOf(one), [1, 2, 3]);
    },
  },
  {
    name: 'options that are not valid are refused with PL_CONFIG, and nothing is enqueued',
    async run(driver) {
      const one = openOne(driver);
      for (const options of wrong)
        await assert.rejects(one.jobs.add(one.name, 'wrong', options), { code: 'PL_CONFIG' });
      await assert.rejects(
        one.jobs.addAll([
          { name: one.name, input: 'wrong' },
          { name: one.name, input: 'wrong', unique: { key: 'a' } },
        ]),
        { code: 'PL_CONFIG' },
      );
      await one.jobs.add(one.name, 'right');
      assert.deepEqual(await ranOf(one), ['right']);
    },
  },
  {
    name: 'many are enqueued at once, of several names',
    async run(driver) {
      const names = [newName(), newName()];
      const jobs = driver.open(names);
      const ids = await jobs.addAll(
        Array.from({ length: 100 }, (_, input) => ({ name: names[input % 2] ?? '', input })),
      );
      assert.equal(new Set(ids).size, 100);
      const ran = await Promise.all(names.map((name) => ranOf({ jobs, name })));
      assert.deepEqual(
        ran.map(({ length }) => length),
        [50, 50],
      );
      assert.deepEqual(await jobs.addAll([]), []);
    },
  },
  {
    name: 'none begins before its time, by delay or by date; what is past begins at once',
    async run(driver) {
      const one = openOne(driver);
      const later = [
        await one.jobs.add(one.name, 'later', inAnHour),
        await one.jobs.add(one.name, 'later', { runAt: new Date(Date.now() + 3_600_000) }),
      ];
      await one.jobs.add(one.name, 'past', { runAt: new Date(Date.now() - 3_600_000) });
      await one.jobs.add(one.name, 'soon', { delayMs: 20 });
      const ran: unknown[] = [];
      await using _worker = await startWorker(one, async (input) => void ran.push(input));
      await eventually('those that are due have run', () => ran.length === 2);
      assertSame(ran, ['past', 'soon']);
      for (const id of later) assert.equal((await one.jobs.status(id))?.state, 'queued');
    },
  },
  {
    name: 'those that are more urgent begin first, and those that are as urgent in their order',
    async run(driver) {
      const one = openOne(driver);
      for (const [input, priority] of [
        ['d', 5],
        ['b', undefined],
        ['e', 32_767],
        ['c', undefined],
        ['a', -32_768],
      ] as const)
        await one.jobs.add(one.name, input, priority === undefined ? {} : { priority });
      const ran: unknown[] = [];
      await using _worker = await startWorker(one, async (input) => void ran.push(input), { concurrency: 1 });
      await eventually('all have run', () => ran.length === 5);
      assert.deepEqual(ran, ['a', 'b', 'c', 'd', 'e']);
    },
  },
  {
    name: 'unique: the one that has not begun is kept, or gets the new input, or input and time',
    async run(driver) {
      const one = openOne(driver);
      const add = (
        input: unknown,
        onDuplicate: 'keep' | 'replace' | 'debounce',
        more: JobOptions = inAnHour,
      ) => one.jobs.add(one.name, input, { ...more, unique: { key: 'k', onDuplicate } });
      const first = await add('first', 'keep');
      assert.equal(await add('second', 'keep'), first);
      assert.equal(await add('third', 'replace'), first);
      const other = await one.jobs.add(one.name, 'other', { ...inAnHour, unique: { key: 'l' } });
      assert.notEqual(other, first);
      const ran: unknown[] = [];
      await using _worker = await startWorker(one, async (input) => void ran.push(input));
      assert.equal((await one.jobs.status(first))?.state, 'queued');
      assert.equal(await add('fourth', 'debounce', { delayMs: 0 }), first);
      await eventually('it has run', () => ran.length > 0);
      assert.deepEqual(ran, ['fourth']);
    },
  },
  {
    name: 'unique: one that is due and gets a new input runs with it',
    async run(driver) {
      const one = openOne(driver);
      const first = await one.jobs.add(one.name, 1, { unique: { key: 'k' } });
      const again = { unique: { key: 'k', onDuplicate: 'replace' } } as const;
      assert.equal(await one.jobs.add(one.name, 2, again), first);
      assert.deepEqual(await ranOf(one), [2]);
    },
  },
  {
    name: 'unique: one that has begun does not count, nor one that is to be tried again',
    async run(driver) {
      const one = openOne(driver);
      const go = Promise.withResolvers<void>();
      const ran: unknown[] = [];
      await using _worker = await startWorker(
        one,
        async (input, { task }) => {
          ran.push(input);
          await go.promise;
          if (input === 'a' && task.attempt === 1) throw new Error('again');
        },
        { backoff: { baseMs: 3_600_000, maxMs: 3_600_000 } },
      );
      const unique = { unique: { key: 'k' } };
      const first = await one.jobs.add(one.name, 'a', unique);
      await eventually('it has begun', () => ran.length === 1);
      assert.notEqual(await one.jobs.add(one.name, 'b', unique), first);
      await eventually('the other one has begun', () => ran.length === 2);
      go.resolve();
      await eventually('it failed', async () => (await one.jobs.status(first))?.state === 'queued');
      assert.notEqual(await one.jobs.add(one.name, 'c', unique), first);
      await eventually('the third one has run', () => ran.length === 3);
      assert.deepEqual(ran, ['a', 'b', 'c']);
    },
  },
  {
    name: 'unique: of many that are added while workers take them, the newest input is run',
    async run(driver) {
      const one = openOne(driver);
      const ran: number[] = [];
      await using _worker = await startWorker(one, async (input) => void ran.push(input as number), {
        concurrency: 4,
      });
      for (let n = 1; n <= 60; n += 1) {
        await one.jobs.add(one.name, n, { unique: { key: 'k', onDuplicate: 'replace' } });
        if (n % 20 === 0) await eventually(`${n} was run`, () => ran.includes(n));
      }
    },
  },
  {
    name: 'runs in the context of whoever enqueued it, with its id as key',
    async run(driver) {
      const one = openOne(driver);
      const caller = { tenant: 't', principal: 'p' };
      const context = createContext({ correlationId: 'request-7', causationId: 'event:1', caller });
      const id = await runInContext(context, () => one.jobs.add(one.name, 1));
      const seen: unknown[] = [];
      await using _worker = await startWorker(one, async (_input, { task }) => {
        const now = currentContext();
        seen.push([now?.correlationId, now?.causationId, now?.key, now?.caller]);
        seen.push([task.id, task.name, task.causationId, task.correlationId, task.caller]);
      });
      await eventually('it has run', () => seen.length === 2);
      assert.deepEqual(seen, [
        ['request-7', `job:${id}`, id, caller],
        [id, one.name, 'event:1', 'request-7', caller],
      ]);
    },
  },
];
