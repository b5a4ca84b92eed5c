import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { background, refusals, type BackgroundMessage, type RefusalMessage } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { queueDefaults } from './options.ts';
// The page shows this as users write it.
// #region usage
import { createQueue } from 'plimsoll/queue';

type Resize = (image: string) => Promise<string>;

async function usage(resize: Resize, log: (text: string, error?: unknown) => void): Promise<string> {
  await using thumbnails = createQueue({
    name: 'thumbnails',
    concurrency: 4,
    maxLength: 100,
    maxWaitMs: 5_000,
    handler: resize,
    onFailure: (error, image) => log(`no thumbnail of ${image}`, error),
  });
  if (!thumbnails.offer('cover.png')) log('too busy for cover.png'); // never waits
  return await thumbnails.push('page1.png'); // the handler's result, or PL_QUEUE_FULL at once
}
// #endregion

// #region space
async function importRows(rows: Iterable<string>, save: (row: string) => Promise<void>): Promise<void> {
  await using queue = createQueue({ name: 'import', concurrency: 8, maxLength: 50, handler: save });
  for (const row of rows) {
    while (!queue.offer(row)) await queue.space();
  }
} // leaving waits until every row is saved
// #endregion

// #region iterate
const mails = createQueue<string>({ name: 'mails', maxLength: 1_000 });

async function sendMails(send: (mail: string) => Promise<void>): Promise<void> {
  for await (const mail of mails) await send(mail); // ends when the queue is closed and empty
}
// #endregion

/** The time that the faked timers keep. */
const clock: Clock = { ...systemClock, monotonicMs: () => Date.now() };
const told: RefusalMessage[] = [];
const failures: BackgroundMessage[] = [];
let unsubscribe: (() => void)[];
beforeEach(() => {
  vi.useFakeTimers();
  told.length = 0;
  failures.length = 0;
  unsubscribe = [
    refusals.subscribe((message) => told.push(message)),
    background.subscribe((message) => failures.push(message)),
  ];
});
afterEach(() => {
  for (const stop of unsubscribe) stop();
  vi.useRealTimers();
});

const turns = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
const never = (): Promise<never> => new Promise(() => undefined);

/** A handler whose items end when the test says so. */
function byHand(): {
  handler: (item: string) => Promise<string>;
  started: string[];
  end: (item: string, error?: Error) => Promise<unknown>;
} {
  const started: string[] = [];
  const running = new Map<string, PromiseWithResolvers<string>>();
  return {
    started,
    handler(item) {
      started.push(item);
      const run = Promise.withResolvers<string>();
      running.set(item, run);
      return run.promise;
    },
    end(item, error) {
      const run = running.get(item)!;
      if (error === undefined) run.resolve(`${item} done`);
      else run.reject(error);
      return turns();
    },
  };
}

test('the usage on the page', async () => {
  const resized: string[] = [];
  const logged: string[] = [];
  const resize: Resize = (image) => {
    resized.push(image);
    return image === 'cover.png' ? Promise.reject(new Error('no image')) : Promise.resolve(`small ${image}`);
  };
  const result = usage(resize, (text) => logged.push(text));
  await expect(result).resolves.toBe('small page1.png');
  expect(resized).toEqual(['cover.png', 'page1.png']);
  expect(logged).toEqual(['no thumbnail of cover.png']);

  const rows = Array.from({ length: 500 }, (_, row) => String(row));
  const saved: string[] = [];
  await importRows(rows, (row) => Promise.resolve(void saved.push(row)));
  expect(saved).toEqual(rows);

  const sent: string[] = [];
  const sending = sendMails((mail) => Promise.resolve(void sent.push(mail)));
  for (const mail of ['a', 'b']) mails.offer(mail);
  await mails.close();
  await sending;
  expect(sent).toEqual(['a', 'b']);
});

test('offer says no and push rejects at once when the queue is full', async () => {
  const queue = createQueue<string, string>({ name: 'mails', concurrency: 1, maxLength: 1, handler: never });
  expect([queue.offer('a'), queue.offer('b'), queue.offer('c')]).toEqual([true, true, false]);
  await expect(queue.push('d')).rejects.toMatchObject({
    code: 'PL_QUEUE_FULL',
    message: 'queue mails: 1 of 1 items wait; try again in about 1000 ms, or send less',
    data: { name: 'mails', retryAfterMs: 1_000, length: 1, maxLength: 1 },
  });
  expect(queue.state()).toMatchObject({ length: 1, active: 1, refused: 2, dropped: 0 });
  expect(told).toEqual(Array(2).fill({ scope: queue, policy: 'queue', name: 'mails', reason: 'full' }));
});

test('items are handled in order, at most concurrency at once, and push gives the result', async () => {
  const { handler, started, end } = byHand();
  const queue = createQueue({ name: 'mails', concurrency: 2, handler });
  const results = ['a', 'b', 'c', 'd'].map((item) => queue.push(item));
  expect(started).toEqual(['a', 'b']);
  await end('b');
  expect(started).toEqual(['a', 'b', 'c']);
  await end('a');
  await end('d');
  await end('c');
  await expect(Promise.all(results)).resolves.toEqual(['a done', 'b done', 'c done', 'd done']);
});

test('a failing handler reaches who pushed, and for offers the hook or the background channel; all go on', async () => {
  const handler = (item: string): Promise<void> => {
    if (item.startsWith('throws')) throw new Error(item);
    return Promise.reject(new Error(item));
  };
  const hooked: unknown[] = [];
  const onFailure = (error: unknown, item: string): void => {
    hooked.push([item, (error as Error).message]);
    throw new Error('the hook fails too');
  };
  const queue = createQueue({ name: 'mails', concurrency: 1, handler, onFailure });
  for (const item of ['rejects', 'throws', 'rejects again']) expect(queue.offer(item)).toBe(true);
  const pushed = expect(queue.push('throws pushed')).rejects.toThrow('throws pushed');
  await queue.drain();
  await pushed;
  expect(hooked).toEqual([
    ['rejects', 'rejects'],
    ['throws', 'throws'],
    ['rejects again', 'rejects again'],
  ]);
  expect(failures.map(({ what }) => what)).toEqual(Array(3).fill('onFailure of queue mails'));

  const silent = createQueue({ name: 'silent', handler, scope: queue });
  silent.offer('rejects');
  await silent.drain();
  expect(failures.at(-1)).toEqual({ scope: queue, what: 'queue silent', error: new Error('rejects') });
});

test('an item waits no longer than maxWaitMs, whether timers are on time or not', async () => {
  const { handler, started, end } = byHand();
  const dropped: string[] = [];
  const onFailure = (error: unknown, item: string): void =>
    void dropped.push(`${item}: ${(error as Error).message}`);
  const queue = createQueue({ name: 'mails', concurrency: 1, maxWaitMs: 50, handler, onFailure, clock });
  queue.offer('a');
  queue.offer('late');
  const pushed = expect(queue.push('late too')).rejects.toMatchObject({ code: 'PL_QUEUE_FULL' });
  await vi.advanceTimersByTimeAsync(50);
  await pushed;
  expect(queue.state()).toMatchObject({ length: 0, active: 1, dropped: 2 });
  expect(dropped).toEqual([
    'late: queue mails: an item waited 50 ms, as long as maxWaitMs allows; try again in about 1000 ms, or send less',
  ]);
  queue.offer('late at its turn');
  // The loop was busy: no timer fired.
  vi.setSystemTime(Date.now() + 60);
  queue.offer('in time');
  await end('a');
  expect(started).toEqual(['a', 'in time']);
  expect(told.map(({ reason }) => reason)).toEqual(Array(3).fill('waited too long'));
});

test("what is late takes nobody else's place, though no timer fired", () => {
  const queue = createQueue({
    name: 'mails',
    concurrency: 1,
    maxLength: 1,
    maxWaitMs: 50,
    handler: never,
    clock,
  });
  expect(['a', 'b', 'c'].map((item) => queue.offer(item))).toEqual([true, true, false]);
  vi.setSystemTime(Date.now() + 50);
  expect(queue.offer('d')).toBe(true);
  expect(queue.state()).toMatchObject({ length: 1, dropped: 1, refused: 1 });
});

test('a producer is told of the space that a late item leaves', async () => {
  const queue = createQueue({
    name: 'mails',
    concurrency: 1,
    maxLength: 1,
    maxWaitMs: 50,
    handler: never,
    clock,
  });
  queue.offer('a');
  queue.offer('b');
  vi.advanceTimersByTime(10);
  const told = queue.space();
  vi.advanceTimersByTime(40);
  await told;
  expect(queue.state()).toMatchObject({ length: 0, dropped: 1, producers: 0 });
});

test('an item whose caller goes away or whose deadline passes while it waits is never handled', async () => {
  const { handler, started, end } = byHand();
  const dropped: unknown[] = [];
  const onFailure = (error: unknown, item: string): void =>
    void dropped.push([item, (error as { code: string }).code]);
  const queue = createQueue({ name: 'mails', concurrency: 1, handler, onFailure, clock });
  queue.offer('a');
  const caller = new AbortController();
  const gone = createContext({ signal: caller.signal });
  const within = createContext({ deadlineAtMs: clock.monotonicMs() + 20 });
  const pushed = runInContext(gone, () => queue.push('b'));
  const rejected = expect(pushed).rejects.toMatchObject({ code: 'PL_ABORTED' });
  runInContext(within, () => queue.offer('c'));
  queue.offer('d');
  caller.abort();
  await rejected;
  await vi.advanceTimersByTimeAsync(20);
  await end('a');
  expect(started).toEqual(['a', 'd']);
  expect(dropped).toEqual([['c', 'PL_DEADLINE']]);
  // Neither is taken any more.
  expect(runInContext(gone, () => queue.offer('e'))).toBe(false);
  await expect(runInContext(within, () => queue.push('f'))).rejects.toMatchObject({ code: 'PL_DEADLINE' });
  expect(queue.state()).toMatchObject({ dropped: 2, refused: 2 });
});

test('once the queue is full the newest is next, until it is half empty', async () => {
  const { handler, started, end } = byHand();
  const order = 'newest-first-when-full';
  const queue = createQueue({ name: 'mails', concurrency: 1, maxLength: 4, order, handler });
  for (const item of ['a', 'b', 'c', 'd', 'e']) queue.offer(item);
  for (const item of ['a', 'e', 'd', 'b']) await end(item);
  expect(started).toEqual(['a', 'e', 'd', 'b', 'c']);
});

test('a heavy item is not overtaken, and a weight that never fits is refused by name', async () => {
  const { handler, started, end } = byHand();
  const weight = (item: string): number => Number(item.slice(1));
  const queue = createQueue({ name: 'mails', concurrency: 3, weight, handler });
  for (const item of ['a1', 'b2', 'c3', 'd1']) queue.offer(item);
  await end('a1');
  expect(started, 'd1 would fit').toEqual(['a1', 'b2']);
  expect(queue.state()).toMatchObject({ active: 2, length: 2 });
  await end('b2');
  await end('c3');
  expect(started).toEqual(['a1', 'b2', 'c3', 'd1']);
  expect(() => queue.offer('e4')).toThrow(
    'weight: gave 4; give an integer from 1 to concurrency, which is 3',
  );
  await expect(queue.push('f0')).rejects.toMatchObject({ code: 'PL_CONFIG' });
});

test('the handler runs in the async context of its producer, whoever ended before it', async () => {
  const producer = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  const queue = createQueue({
    name: 'mails',
    concurrency: 1,
    async handler(item: string) {
      seen.push([item, producer.getStore()]);
      await Promise.resolve();
    },
  });
  for (const item of ['a', 'b']) producer.run(`offers ${item}`, () => queue.offer(item));
  await producer.run('pushes c', () => queue.push('c'));
  expect(seen).toEqual([
    ['a', 'offers a'],
    ['b', 'offers b'],
    ['c', 'pushes c'],
  ]);
});

test('space waits for room, a bounded time and for a bounded number of producers', async () => {
  const { handler, end } = byHand();
  const bounds = { concurrency: 1, maxLength: 1, maxProducers: 2, maxWaitMs: 50 } as const;
  const queue = createQueue({ name: 'mails', ...bounds, handler, clock });
  await queue.space();
  queue.offer('a');
  queue.offer('b');
  const first = queue.space().then(() => queue.offer('c'));
  vi.advanceTimersByTime(30);
  const second = queue.space();
  await expect(queue.space()).rejects.toMatchObject({
    code: 'PL_QUEUE_FULL',
    message: expect.stringContaining('2 of 2 producers wait for space already'),
  });
  expect(queue.state().producers).toBe(2);
  await end('a');
  await first;
  const late = expect(second).rejects.toMatchObject({
    code: 'PL_QUEUE_FULL',
    message: expect.stringContaining('a producer waited for space 50 ms'),
  });
  await vi.advanceTimersByTimeAsync(50);
  await late;
});

test('drain waits for what waits and runs, also for what came meanwhile, and refuses nothing', async () => {
  const { handler, end } = byHand();
  const queue = createQueue({ name: 'mails', concurrency: 1, handler });
  await queue.drain();
  queue.offer('a');
  let drained = false;
  const draining = queue.drain().then(() => (drained = true));
  queue.offer('b');
  await end('a');
  expect(drained).toBe(false);
  await end('b');
  await draining;
  expect(queue.offer('c')).toBe(true);
});

test('a closed queue ends what it has and takes nothing more; producers that wait are told', async () => {
  const { handler, started, end } = byHand();
  const queue = createQueue({ name: 'mails', concurrency: 1, maxLength: 1, handler });
  const results = [queue.push('a'), queue.push('b')];
  const producer = (async () => {
    while (!queue.offer('c')) await queue.space();
  })();
  const turnedAway = expect(producer).rejects.toMatchObject({ code: 'PL_DRAINING' });
  await turns();
  const closed = Promise.all([queue.close(), queue[Symbol.asyncDispose]()]);
  await turnedAway;
  await expect(queue.push('d')).rejects.toMatchObject({ code: 'PL_DRAINING', data: { name: 'mails' } });
  expect(queue.offer('e')).toBe(false);
  await end('a');
  await end('b');
  await closed;
  await expect(Promise.all(results)).resolves.toEqual(['a done', 'b done']);
  expect(started).toEqual(['a', 'b']);
  expect(queue.state()).toMatchObject({ closed: true, active: 0, length: 0, producers: 0 });
});

test('without a handler each consumer has one item at a time; push resolves when it is taken', async () => {
  const queue = createQueue<string>({ name: 'mails', maxLength: 2, maxWaitMs: 50, clock });
  const taken = queue.push('a');
  const one = queue[Symbol.asyncIterator]();
  await expect(one.next()).resolves.toEqual({ done: false, value: 'a' });
  await expect(taken).resolves.toBeUndefined();
  expect(queue.state()).toMatchObject({ active: 1, length: 0 });
  const next = one.next();
  queue.offer('b');
  await expect(next).resolves.toMatchObject({ value: 'b' });
  await one.return?.();
  expect(queue.state().active).toBe(0);
  // Nobody consumes any more: what waits is dropped in time, so that closing ends.
  const late = expect(queue.push('c')).rejects.toMatchObject({ code: 'PL_QUEUE_FULL' });
  const closed = queue.close();
  await vi.advanceTimersByTimeAsync(50);
  await Promise.all([late, closed]);
  const ended = { done: true, value: undefined };
  await expect(queue[Symbol.asyncIterator]().next()).resolves.toEqual(ended);

  const idle = createQueue<string>({ name: 'idle' });
  const waiting = [idle, idle].map((consumed) => consumed[Symbol.asyncIterator]().next());
  await idle.close();
  await expect(Promise.all(waiting)).resolves.toEqual([ended, ended]);
});

test('ten thousand items that wait share one timer and are handled without nesting', async () => {
  const queue = createQueue({
    name: 'mails',
    concurrency: 1,
    maxLength: 10_000,
    // All but the first are done at once.
    handler: (item: number) => (item === 0 ? Promise.resolve() : undefined),
    clock,
  });
  for (let item = 0; item <= 10_000; item += 1) expect(queue.offer(item)).toBe(true);
  expect(queue.offer(0)).toBe(false);
  expect(vi.getTimerCount()).toBe(1);
  await queue.drain();
  expect(queue.state()).toMatchObject({ length: 0, active: 0, dropped: 0 });
});

test('a handler that gives no promise is done at once; a thenable that ends twice ends once', async () => {
  const told: number[] = [];
  const queue = createQueue<number, number>({
    name: 'mails',
    concurrency: 1,
    maxLength: 2,
    handler(item) {
      told.push(item);
      if (item % 2 === 0) return item;
      const twice = (resolve: (item: number) => void): void => [1, 2].forEach(() => resolve(item));
      // oxlint-disable-next-line unicorn/no-thenable
      return { then: twice } as unknown as Promise<number>;
    },
    clock,
  });
  for (const item of [0, 2, 4]) expect(queue.offer(item)).toBe(true);
  expect(told).toEqual([0, 2, 4]);
  expect(queue.state()).toMatchObject({ active: 0, length: 0 });
  const pushed = [5, 7, 8].map((item) => queue.push(item));
  expect(queue.state()).toMatchObject({ active: 1, length: 2 });
  await expect(Promise.all(pushed)).resolves.toEqual([5, 7, 8]);
  expect(told).toEqual([0, 2, 4, 5, 7, 8]);
  expect(queue.state()).toMatchObject({ active: 0, length: 0 });
});

test('every option that is not allowed is named at once', () => {
  const bad = {
    name: '',
    concurrency: 0,
    maxLength: Infinity,
    maxProducers: 0.5,
    maxWaitMs: -1,
    order: 'lifo' as never,
    weight: () => 1,
  };
  const paths = [
    'name',
    'concurrency',
    'maxLength',
    'maxProducers',
    'maxWaitMs',
    'order',
    'concurrency',
    'weight',
  ];
  expect(() => createQueue(bad)).toThrow(
    expect.objectContaining({
      code: 'PL_CONFIG',
      data: { problems: paths.map((path) => expect.objectContaining({ path })) },
    }),
  );
  expect(createQueue({ name: 'mails', maxLength: undefined as never }).state().maxLength).toBe(
    queueDefaults.maxLength,
  );
});
