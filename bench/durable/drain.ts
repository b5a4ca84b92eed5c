import pg from 'pg';
import type { Taken } from './enqueue.ts';
import type { OpenQueue, Work } from './subject.ts';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const bulk = 1_000;

/** A transaction of somebody else that keeps the server from removing what is done, until it is disposed. */
export async function pinHorizon(databaseUrl: string): Promise<AsyncDisposable> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query('begin isolation level repeatable read');
  await client.query('select from effect limit 1');
  return { [Symbol.asyncDispose]: () => client.end() };
}

/** Jobs in a second from the start of the worker until the last one is settled. Gives up after `mostMs`. */
export async function drain(
  queue: OpenQueue,
  work: Work,
  jobs: number,
  mostMs: number,
): Promise<Taken & { readonly jobs: number }> {
  for (let n = 0; n < jobs; n += bulk)
    await queue.addMany(Array.from({ length: Math.min(bulk, jobs - n) }, (_, at) => n + at));
  let started = 0;
  const beganMs = performance.now();
  const stop = await queue.work(work, () => {
    started += 1;
  });
  let left = jobs;
  while (performance.now() - beganMs < mostMs) {
    // Asked seldom while it cannot be over: the question takes time of the server.
    if (started < jobs) {
      await pause(20);
      continue;
    }
    left = await queue.left();
    if (left === 0) break;
    await pause(5);
  }
  const seconds = (performance.now() - beganMs) / 1_000;
  if (left > 0) left = await queue.left();
  await stop();
  const settled = jobs - left;
  const name = work === 'nothing' ? 'drain, jobs that do nothing' : 'drain, jobs that write a row';
  return { case: name, metric: 'settled', unit: 'jobs/s', value: settled / seconds, jobs: settled };
}
