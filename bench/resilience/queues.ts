import { bulkhead } from 'cockatiel';
import fastq from 'fastq';
import pLimit from 'p-limit';
import PQueue from 'p-queue';
import { createQueue } from 'plimsoll/queue';
import type { Opening, Subject } from './compare.ts';

export type Task = 'sync' | 'setImmediate';

const concurrency = 16;
/** Pushed at once, then waited for. */
const batch = 1_000;

/** Does the task for each number below `count`, all pushed at once; the sum of what came back. */
type Batch = (count: number) => Promise<number>;

interface Queue {
  readonly name: string;
  readonly setting: string;
  /** `done` is told when the task ends, in whichever way the queue has for it. */
  readonly make: (task: (value: number, done: (value: number) => void) => void) => Batch;
}

/** Each by promises: what is pushed resolves with what the task gave. */
function byPromise(push: (value: number) => Promise<number>): Batch {
  return async (count) => {
    const pushed: Promise<number>[] = [];
    for (let value = 0; value < count; value += 1) pushed.push(push(value));
    let sum = 0;
    for (const result of await Promise.all(pushed)) sum += result;
    return sum;
  };
}

type Worker = (value: number) => Promise<number>;

const promised =
  (make: (worker: Worker) => (value: number) => Promise<number>): Queue['make'] =>
  (task) =>
    byPromise(make((value) => new Promise((resolve) => task(value, resolve))));

const queues: readonly Queue[] = [
  {
    name: 'plimsoll push',
    setting: 'createQueue with a handler, push; bounds on: 1,000 may wait, 30 s each',
    make: promised((handler) => {
      const queue = createQueue({ name: 'bench', concurrency, maxLength: batch, handler });
      return (value) => queue.push(value);
    }),
  },
  {
    name: 'plimsoll offer',
    setting: 'the same by offer, whose results go nowhere; a sync task makes no promise; waits in drain',
    make(task) {
      let sum = 0;
      const queue = createQueue({
        name: 'bench',
        concurrency,
        maxLength: batch,
        handler(value: number): undefined | Promise<void> {
          let over = false;
          let end: (() => void) | undefined;
          task(value, (result) => {
            sum += result;
            over = true;
            end?.();
          });
          return over
            ? undefined
            : new Promise((resolve) => {
                end = resolve;
              });
        },
      });
      return async (count) => {
        sum = 0;
        for (let value = 0; value < count; value += 1)
          if (!queue.offer(value)) throw new Error('the queue is full');
        await queue.drain();
        return sum;
      };
    },
  },
  {
    name: 'fastq promise',
    setting: 'fastq.promise, no bound',
    make: promised((worker) => {
      const queue = fastq.promise<unknown, number, number>(worker, concurrency);
      return (value) => queue.push(value);
    }),
  },
  {
    name: 'fastq callback',
    setting: 'fastq with callbacks, no bound; a sync task then never waits in it',
    make(task) {
      const queue = fastq<unknown, number, number>((value, done) => {
        task(value, (result) => done(null, result));
      }, concurrency);
      return (count) =>
        new Promise((resolve, reject) => {
          let sum = 0;
          let left = count;
          const done = (error: Error | null, result?: number): void => {
            if (error !== null) reject(error);
            sum += result ?? 0;
            left -= 1;
            if (left === 0) resolve(sum);
          };
          for (let value = 0; value < count; value += 1) queue.push(value, done);
        });
    },
  },
  {
    name: 'p-limit',
    setting: 'pLimit(16), no bound',
    make: promised((worker) => {
      const limit = pLimit(concurrency);
      return (value) => limit(worker, value);
    }),
  },
  {
    name: 'p-queue',
    setting: 'new PQueue({ concurrency: 16 }), no bound',
    make: promised((worker) => {
      const queue = new PQueue({ concurrency });
      return (value) => queue.add(() => worker(value));
    }),
  },
  {
    name: 'cockatiel bulkhead',
    setting: 'bulkhead(16, 1000)',
    make: promised((worker) => {
      const policy = bulkhead(concurrency, batch);
      return (value) => policy.execute(() => worker(value));
    }),
  },
];

const tasks: Readonly<Record<Task, (value: number, done: (value: number) => void) => void>> = {
  sync: (value, done) => done(value),
  setImmediate: (value, done) => void setImmediate(done, value),
};

const sumBelow = (count: number): number => (count * (count - 1)) / 2;

export const queueName = (task: Task): string => `queue, ${task} task`;

export const queueComparison =
  (task: Task): Opening =>
  async () => ({
    name: queueName(task),
    baseline: 'fastq promise',
    burstMs: 100,
    subjects: queues.map(({ name, setting, make }): Subject => {
      const push = make(tasks[task]);
      return {
        name,
        setting: `${setting}; 16 at once, 1,000 pushed together`,
        prove: () => proveBounds(name, make),
        async run(operations) {
          for (let left = operations; left > 0; left -= batch) {
            const count = Math.min(left, batch);
            const sum = await push(count);
            if (sum !== sumBelow(count))
              throw new Error(`${name}: the results of ${count} tasks sum up to ${sum}`);
          }
        },
      };
    }),
  });

async function proveBounds(name: string, make: Queue['make']): Promise<void> {
  let active = 0;
  let most = 0;
  const push = make((value, done) => {
    active += 1;
    most = Math.max(most, active);
    setImmediate(() => {
      active -= 1;
      done(value);
    });
  });
  const sum = await push(batch);
  if (most !== concurrency || sum !== sumBelow(batch))
    throw new Error(
      `${name} ran ${most} tasks at once, and they sum up to ${sum}; want ${concurrency} at once`,
    );
}
