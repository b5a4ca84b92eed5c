import assert from 'node:assert/strict';
import { cancel, retry, snooze } from '../../durable/outcome.ts';
import { PlimsollError } from '../../kernel/errors.ts';
import {
  aborted,
  assertSame,
  eventually,
  never,
  openOne,
  startWorker,
  untilFailed,
  untilGone,
  type JobDriverCase,
} from './harness.ts';

export const outcomes: readonly JobDriverCase[] = [
  {
    name: 'a failing job is tried again with the same id, and is a dead letter with error and input after its last try',
    async run(driver) {
      const one = openOne(driver);
      const tries: unknown[] = [];
      await using _worker = await startWorker(one, async (input, { task }) => {
        tries.push([input, task.id, task.attempt, task.maxAttempts]);
        throw new PlimsollError('PL_NETWORK', `no answer to try ${task.attempt}`);
      });
      const id = await one.jobs.add(one.name, { n: 1 }, { maxAttempts: 3 });
      await untilFailed(one, id);
      assert.deepEqual(
        tries,
        [1, 2, 3].map((attempt) => [{ n: 1 }, id, attempt, 3]),
      );
      const [letter, ...others] = await one.jobs.deadLetters({ name: one.name });
      assert.equal(others.length, 0);
      const { kind, name, payload, attempts, error, parkedAt, orderKey } = letter ?? assert.fail('no letter');
      assert.deepEqual(
        [letter?.id, kind, name, payload, attempts, orderKey],
        [id, 'job', one.name, { n: 1 }, 3, null],
      );
      assert.deepEqual([error?.message, error?.code], ['no answer to try 3', 'PL_NETWORK']);
      assert.match(error?.stack ?? '', /outcomes\.[jt]s/);
      assert.ok(Math.abs(parkedAt.getTime() - Date.now()) < 60_000);
      const status = await one.jobs.status(id);
      assert.deepEqual([status?.attempts, status?.maxAttempts, status?.name], [3, 3, one.name]);
      assert.equal(status?.lastError?.code, 'PL_NETWORK');
    },
  },
  {
    name: 'whatever is thrown is a failed try; outside nothing is told of an error that is not ours',
    async run(driver) {
      const one = openOne(driver);
      const thrown: readonly unknown[] = [
        'a text',
        undefined,
        null,
        { message: 'no error' },
        new TypeError('secret'),
      ];
      await using _worker = await startWorker(one, async (input) => {
        throw thrown[input as number];
      });
      const ids: string[] = [];
      for (const n of thrown.keys()) ids.push(await one.jobs.add(one.name, n, { maxAttempts: 1 }));
      for (const id of ids) {
        await untilFailed(one, id);
        assert.equal((await one.jobs.status(id))?.lastError?.code, 'INTERNAL');
      }
      const messages = (await one.jobs.deadLetters({ ids })).map(({ error }) => error?.message);
      assertSame(messages, ['[object Object]', 'a text', 'null', 'secret', 'undefined']);
    },
  },
  {
    name: 'after a failure it waits as long as the backoff says',
    async run(driver) {
      const one = openOne(driver);
      let tries = 0;
      await using _worker = await startWorker(
        one,
        async (input) => {
          if (input !== 'fails') return;
          tries += 1;
          throw new Error('no');
        },
        { backoff: { baseMs: 3_600_000, maxMs: 3_600_000 } },
      );
      const id = await one.jobs.add(one.name, 'fails');
      await eventually('it has failed', async () => (await one.jobs.status(id))?.lastError !== undefined);
      await untilGone(one, [await one.jobs.add(one.name, 'another')]);
      const status = await one.jobs.status(id);
      assert.deepEqual([status?.state, status?.attempts, tries], ['queued', 1, 1]);
    },
  },
  {
    name: 'retry is a failed try with a wait of its own, parked after the last one with its reason',
    async run(driver) {
      const one = openOne(driver);
      let tries = 0;
      const slow = { backoff: { baseMs: 3_600_000, maxMs: 3_600_000 } };
      await using _worker = await startWorker(
        one,
        async () => retry({ delayMs: (tries += 1) % 2, reason: 'the bank is closed' }),
        slow,
      );
      const id = await one.jobs.add(one.name, 1, { maxAttempts: 3 });
      await untilFailed(one, id);
      assert.equal(tries, 3);
      const [letter] = await one.jobs.deadLetters({ ids: [id] });
      assert.equal(letter?.error?.message, 'retry: the bank is closed');
    },
  },
  {
    name: 'snooze, however often, uses up no try',
    async run(driver) {
      const one = openOne(driver);
      const tries: number[] = [];
      await using _worker = await startWorker(one, async (_input, { task }) => {
        tries.push(task.attempt);
        return tries.length < 5 ? snooze(tries.length % 2) : 'done';
      });
      const id = await one.jobs.add(one.name, 1, { maxAttempts: 1, keepResult: true });
      await eventually('it is done', async () => (await one.jobs.status(id))?.state === 'done');
      assert.deepEqual(tries, [1, 1, 1, 1, 1]);
    },
  },
  {
    name: 'cancel ends it for good, without a dead letter; who keeps its result is told why',
    async run(driver) {
      const one = openOne(driver);
      await using _worker = await startWorker(one, async () => cancel('the order is gone'));
      const kept = await one.jobs.add(one.name, 1, { keepResult: true });
      const other = await one.jobs.add(one.name, 1);
      await untilGone(one, [other]);
      await eventually('it has ended', async () => (await one.jobs.status(kept))?.state === 'cancelled');
      assert.equal((await one.jobs.status(kept))?.reason, 'the order is gone');
      assert.equal(await one.jobs.status(other), undefined);
      assert.deepEqual(await one.jobs.deadLetters({ name: one.name }), []);
    },
  },
  {
    name: 'a try has its time limit: its signal aborts, and it has failed',
    async run(driver) {
      const one = openOne(driver);
      const heard: boolean[] = [];
      await using _worker = await startWorker(one, async (input, { signal }) => {
        if (input === 'deaf') return never();
        await aborted(signal);
        heard.push(signal.aborted);
        return undefined;
      });
      // Several, as one that ends because it was told to races the clock that makes it late.
      const inputs = ['deaf', ...Array.from({ length: 30 }, () => 'hears')];
      const ids: string[] = [];
      for (const input of inputs)
        ids.push(await one.jobs.add(one.name, input, { timeoutMs: 20, maxAttempts: 1 }));
      for (const id of ids) await untilFailed(one, id);
      for (const { error } of await one.jobs.deadLetters({ ids })) assert.equal(error?.code, 'PL_DEADLINE');
      await eventually('they heard', () => heard.length === 30);
    },
  },
  {
    name: 'tells its progress while it runs, and its result where that is kept',
    async run(driver) {
      const one = openOne(driver);
      const [told, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      await using _worker = await startWorker(one, async (_input, { progress }) => {
        await progress({ done: 1, of: 2 });
        told.resolve();
        await go.promise;
        return { rows: 7 };
      });
      const id = await one.jobs.add(one.name, 1, { keepResult: true });
      await told.promise;
      const running = await one.jobs.status(id);
      assert.deepEqual([running?.state, running?.progress], ['running', { done: 1, of: 2 }]);
      go.resolve();
      await eventually('it is done', async () => (await one.jobs.status(id))?.state === 'done');
      const { acceptedAt, ...status } = (await one.jobs.status(id)) ?? assert.fail('no status');
      assert.deepEqual(status, { jobId: id, name: one.name, state: 'done', result: { rows: 7 } });
      assert.match(acceptedAt, /^\d{4}-\d\d-\d\dT/);
      // What has ended is not to be cancelled any more.
      assert.equal(await one.jobs.cancel(id, 'too late'), undefined);
      assert.equal((await one.jobs.status(id))?.state, 'done');
    },
  },
  {
    name: 'what ended well without being kept leaves nothing; a result of nothing is null',
    async run(driver) {
      const one = openOne(driver);
      await using _worker = await startWorker(one, async () => undefined);
      const kept = await one.jobs.add(one.name, 1, { keepResult: true });
      const id = await one.jobs.add(one.name, 1);
      await eventually('it is gone', async () => (await one.jobs.status(id)) === undefined);
      await eventually('the other is done', async () => (await one.jobs.status(kept))?.state === 'done');
      assert.equal((await one.jobs.status(kept))?.result, null);
      for (const unknown of ['', 'meta', 'no-id', '00000000-0000-7000-8000-000000000000'])
        assert.equal(await one.jobs.status(unknown), undefined, unknown);
    },
  },
  {
    name: 'a result that is no JSON is a failed try',
    async run(driver) {
      const one = openOne(driver);
      await using _worker = await startWorker(one, async () => 1n);
      const id = await one.jobs.add(one.name, 1, { keepResult: true, maxAttempts: 2 });
      await untilFailed(one, id);
      const [letter] = await one.jobs.deadLetters({ ids: [id] });
      assert.equal(letter?.attempts, 2);
      assert.match(letter?.error?.message ?? '', /BigInt/);
    },
  },
];
