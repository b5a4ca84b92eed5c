import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  eventually,
  never,
  openOne,
  startWorker,
  untilFailed,
  untilGone,
  type JobDriverCase,
  type TriedJobDriver,
} from './harness.ts';

/** Starts a process, waits until it has begun a job and kills it; the try that it had begun. */
async function killInAJob(
  driver: TriedJobDriver,
  name: string,
  add?: () => Promise<unknown>,
): Promise<unknown> {
  const child = await driver.startProcess(name);
  try {
    const begun = once(child, 'message', { signal: AbortSignal.timeout(driver.takeoverMs + 20_000) });
    await add?.();
    const [message] = (await begun) as unknown[];
    return message;
  } finally {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
}

export const working: readonly JobDriverCase[] = [
  {
    name: '1,000 jobs and two workers: each runs once when nobody dies',
    async run(driver) {
      const one = openOne(driver);
      const runs = new Map<unknown, number>();
      const run = async (input: unknown): Promise<void> => void runs.set(input, (runs.get(input) ?? 0) + 1);
      const options = { concurrency: 16 };
      await using first = await startWorker(one, run, options);
      await using second = await startWorker(one, run, options);
      await one.jobs.addAll(Array.from({ length: 1_000 }, (_, input) => ({ name: one.name, input })));
      await eventually('all have run', () => runs.size === 1_000);
      // What would come a second time has come when both have ended.
      await Promise.all([first.stop(), second.stop()]);
      assert.deepEqual(new Set(runs.values()), new Set([1]));
      await using _third = await startWorker(one, run, options);
      await untilGone(one, [await one.jobs.add(one.name, 'last')]);
      assert.deepEqual(new Set(runs.values()), new Set([1]));
    },
  },
  {
    name: 'one that fails each time holds up no other',
    async run(driver) {
      const one = openOne(driver);
      await using _worker = await startWorker(
        one,
        async (input) => {
          if (input === 'bad') throw new Error('no');
        },
        { concurrency: 2 },
      );
      for (let n = 0; n < 4; n += 1) await one.jobs.add(one.name, 'bad', { maxAttempts: 1_000_000 });
      const ids: string[] = [];
      for (let n = 0; n < 20; n += 1) ids.push(await one.jobs.add(one.name, n));
      await untilGone(one, ids);
    },
  },
  {
    name: 'as many run at once as the worker may, and it says how many do',
    async run(driver) {
      const one = openOne(driver);
      const go = Promise.withResolvers<void>();
      let [running, most] = [0, 0];
      await using worker = await startWorker(
        one,
        async () => {
          running += 1;
          most = Math.max(most, running);
          await go.promise;
          running -= 1;
        },
        { concurrency: 3 },
      );
      const ids = await one.jobs.addAll(Array.from({ length: 7 }, (_, input) => ({ name: one.name, input })));
      await eventually('three run', () => running === 3);
      assert.equal(worker.status().running, 3);
      go.resolve();
      await untilGone(one, ids);
      assert.equal(most, 3);
      await eventually('none is under way', () => worker.status().running === 0);
    },
  },
  {
    name: 'a worker that stops waits for what is under way, takes nothing new, and can be started again',
    async run(driver) {
      const one = openOne(driver);
      const go = Promise.withResolvers<void>();
      const happened: unknown[] = [];
      await using worker = await startWorker(
        one,
        async (input) => {
          happened.push(input);
          if (input !== 1) return;
          await go.promise;
          happened.push('done');
        },
        { concurrency: 1 },
      );
      const first = await one.jobs.add(one.name, 1);
      await eventually('it has begun', () => happened.length === 1);
      const second = await one.jobs.add(one.name, 2);
      const stopped = worker.stop().then(() => happened.push('stopped'));
      for (let n = 0; n < 20; n += 1) assert.equal((await one.jobs.status(first))?.state, 'running');
      go.resolve();
      await stopped;
      assert.deepEqual(happened, [1, 'done', 'stopped']);
      assert.equal((await one.jobs.status(second))?.state, 'queued');
      await worker.start();
      await untilGone(one, [first, second]);
      assert.deepEqual(happened, [1, 'done', 'stopped', 2]);
    },
  },
  {
    name: 'what does not end in time when its worker stops is given back, hears of it, and has used up no try',
    async run(driver) {
      const one = openOne(driver);
      let signal: AbortSignal | undefined;
      const worker = await startWorker(
        one,
        async (_input, job) => {
          ({ signal } = job);
          return never();
        },
        { drainMs: 20 },
      );
      const id = await one.jobs.add(one.name, 1, { maxAttempts: 1 });
      await eventually('it has begun', () => signal !== undefined);
      await worker.stop();
      assert.equal(signal?.aborted, true);
      const tries: unknown[] = [];
      await using _other = await startWorker(one, async (_input, { task }) => {
        tries.push([task.id, task.attempt]);
      });
      await eventually('another has run it', () => tries.length === 1);
      assert.deepEqual(tries, [[id, 1]]);
    },
  },
  {
    name: 'the job of a process that is killed is taken over, with the same id, and its try counts',
    async run(driver) {
      const one = openOne(driver);
      const tries: unknown[] = [];
      let id = '';
      const begun = await killInAJob(driver, one.name, async () => {
        id = await one.jobs.add(one.name, 'input', { maxAttempts: 2 });
      });
      assert.deepEqual(begun, { id, attempt: 1 });
      await using _worker = await startWorker(one, async (input, { task }) => {
        tries.push([input, task.id, task.attempt]);
        throw new Error('its last try');
      });
      await eventually('it is taken over', () => tries.length === 1, driver.takeoverMs);
      await untilFailed(one, id);
      assert.deepEqual(tries, [['input', id, 2]]);
      const [letter] = await one.jobs.deadLetters({ ids: [id] });
      assert.deepEqual([letter?.attempts, letter?.error?.message], [2, 'its last try']);
    },
  },
  {
    name: 'a job that somebody has asked to end, and whose process is killed, is not run again',
    async run(driver) {
      const one = openOne(driver);
      let id = '';
      await killInAJob(driver, one.name, async () => {
        id = await one.jobs.add(one.name, 1, { keepResult: true });
      });
      assert.deepEqual(await one.jobs.cancel(id, 'changed my mind'), { state: 'asked' });
      let ran = false;
      await using _worker = await startWorker(one, async () => void (ran = true));
      await eventually(
        'it has ended',
        async () => (await one.jobs.status(id))?.state === 'cancelled',
        driver.takeoverMs,
      );
      assert.deepEqual([(await one.jobs.status(id))?.reason, ran], ['changed my mind', false]);
    },
  },
  {
    name: 'a job that kills its process each time is a dead letter after its last try',
    async run(driver) {
      const one = openOne(driver);
      const add = (): Promise<string> => one.jobs.add(one.name, 1, { maxAttempts: 2 });
      assert.equal(((await killInAJob(driver, one.name, add)) as { attempt?: number }).attempt, 1);
      assert.equal(((await killInAJob(driver, one.name)) as { attempt?: number }).attempt, 2);
      let ran = false;
      await using _worker = await startWorker(one, async () => void (ran = true));
      await eventually(
        'it is a dead letter',
        async () => (await one.jobs.deadLetters({ name: one.name })).length === 1,
        driver.takeoverMs + 20_000,
      );
      assert.equal(ran, false);
      const [letter] = await one.jobs.deadLetters({ name: one.name });
      assert.deepEqual([letter?.attempts, letter?.error?.message], [2, 'the worker process died']);
      // What was killed may be tried again, with all its tries.
      assert.equal(await one.jobs.replay({ name: one.name }), 1);
      await eventually('it has run', () => ran);
      await untilGone(one, [letter?.id ?? '']);
    },
  },
];
