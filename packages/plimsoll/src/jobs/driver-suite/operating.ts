import assert from 'node:assert/strict';
import { PlimsollError } from '../../kernel/errors.ts';
import { createContext, runInContext } from '../../kernel/context.ts';
import {
  aborted,
  assertSame,
  eventually,
  newName,
  openOne,
  startWorker,
  untilFailed,
  untilGone,
  type JobDriverCase,
} from './harness.ts';

const inAnHour = { delayMs: 3_600_000 };

export const operating: readonly JobDriverCase[] = [
  {
    name: 'one that is cancelled before it began is gone at once; who keeps its result is told why',
    async run(driver) {
      const one = openOne(driver);
      const ids = [
        await one.jobs.add(one.name, 'due', { keepResult: true }),
        await one.jobs.add(one.name, 'later', { ...inAnHour, keepResult: true }),
        await one.jobs.add(one.name, 'not kept'),
      ];
      for (const id of ids) {
        assert.deepEqual(await one.jobs.cancel(id, 'changed my mind'), { state: 'cancelled' });
        assert.equal(await one.jobs.cancel(id, 'again'), undefined);
      }
      const states = await Promise.all(ids.map((id) => one.jobs.status(id)));
      assert.deepEqual(
        states.map((status) => [status?.state, status?.reason, status?.name]),
        [
          ['cancelled', 'changed my mind', one.name],
          ['cancelled', 'changed my mind', one.name],
          [undefined, undefined, undefined],
        ],
      );
      const ran: unknown[] = [];
      await using _worker = await startWorker(one, async (input) => void ran.push(input));
      await one.jobs.add(one.name, 'other');
      await eventually('the other one has run', () => ran.length > 0);
      assert.deepEqual(ran, ['other']);
      for (const unknown of ['meta', '00000000-0000-7000-8000-000000000000'])
        assert.equal(await one.jobs.cancel(unknown, 'no'), undefined);
    },
  },
  {
    name: 'one that is cancelled before it began makes room for another of its unique key',
    async run(driver) {
      const one = openOne(driver);
      const add = (): Promise<string> => one.jobs.add(one.name, 1, { ...inAnHour, unique: { key: 'k' } });
      const first = await add();
      await one.jobs.cancel(first, 'no');
      assert.notEqual(await add(), first);
    },
  },
  {
    name: 'a running one that is cancelled hears of it by its signal, and ends as cancelled however it ends',
    async run(driver) {
      const one = openOne(driver);
      let running = 0;
      const reasons: unknown[] = [];
      await using _worker = await startWorker(one, async (input, { signal }) => {
        running += 1;
        await aborted(signal);
        reasons.push(String(signal.reason));
        if (input === 'throws') throw new Error('stopped');
        return 'stopped';
      });
      const ids = [
        await one.jobs.add(one.name, 'throws', { keepResult: true }),
        await one.jobs.add(one.name, 'returns', { keepResult: true }),
      ];
      await eventually('both run', () => running === 2);
      for (const id of ids)
        assert.deepEqual(await one.jobs.cancel(id, 'changed my mind'), { state: 'asked' });
      for (const id of ids) {
        await eventually('it has ended', async () => (await one.jobs.status(id))?.state === 'cancelled');
        assert.equal((await one.jobs.status(id))?.reason, 'changed my mind');
      }
      for (const reason of reasons) assert.match(String(reason), /changed my mind/);
      assert.deepEqual(await one.jobs.deadLetters({ name: one.name }), []);
    },
  },
  {
    name: 'dead letters are listed by what they are, the newest first',
    async run(driver) {
      const names = [newName(), newName()];
      const jobs = driver.open(names);
      const ids: string[] = [];
      for (const [n, name] of [names[0], names[1], names[0]].entries()) {
        const one = { jobs, name: name ?? '' };
        await using _worker = await startWorker(one, async () => {
          throw n === 2 ? new PlimsollError('PL_NETWORK', 'no 2') : new Error(`no ${n}`);
        });
        const context = createContext({ correlationId: `request-${n}` });
        const id = await runInContext(context, () => jobs.add(one.name, n, { maxAttempts: 1 }));
        await untilFailed(one, id);
        ids.push(id);
      }
      const [a = '', b = '', c = ''] = ids;
      const list = async (...given: Parameters<typeof jobs.deadLetters>): Promise<string[]> =>
        (await jobs.deadLetters(...given)).map(({ id }) => id);
      assert.deepEqual(await list({ ids }), [c, b, a]);
      assert.deepEqual(await list({ ids }, 1), [c]);
      assert.deepEqual(await list({ name: names[0] ?? '' }), [c, a]);
      assert.deepEqual(await list({ name: names[0] ?? '', ids: [a, b] }), [a]);
      assert.deepEqual(await list({ ids, errorCode: 'PL_NETWORK' }), [c]);
      assert.deepEqual(await list({ ids, correlationId: 'request-1' }), [b]);
      assert.deepEqual(await list({ ids, kind: 'delivery' }), []);
      assert.deepEqual(await list({ ids, orderKey: 'none' }), []);
      assert.deepEqual(await list({ ids, parkedBefore: new Date(0) }), []);
      assert.deepEqual(await list({ ids, parkedAfter: new Date(0), parkedBefore: new Date(4e12) }), [
        c,
        b,
        a,
      ]);
    },
  },
  {
    name: 'a dead letter that is replayed has all its tries again; one that is discarded is gone',
    async run(driver) {
      const one = openOne(driver);
      const tries: unknown[] = [];
      let well = false;
      await using _worker = await startWorker(one, async (input, { task }) => {
        tries.push([input, task.attempt]);
        if (!well) throw new Error('no');
      });
      const [a, b, c] = [
        await one.jobs.add(one.name, 'a', { maxAttempts: 2 }),
        await one.jobs.add(one.name, 'b', { maxAttempts: 1 }),
        await one.jobs.add(one.name, 'c', { maxAttempts: 1 }),
      ];
      for (const id of [a, b, c]) await untilFailed(one, id);
      tries.length = 0;
      assert.equal(await one.jobs.replay({ ids: [a] }), 1);
      await eventually('it was tried again', () => tries.length === 2);
      await untilFailed(one, a);
      assert.deepEqual(tries, [
        ['a', 1],
        ['a', 2],
      ]);
      await assert.rejects(one.jobs.discard({}), { code: 'PL_CONFIG' });
      assert.equal(await one.jobs.discard({ ids: [b] }), 1);
      assert.equal(await one.jobs.discard({ ids: [b] }), 0);
      assert.equal(await one.jobs.status(b), undefined);
      well = true;
      assert.equal(await one.jobs.replay({ name: one.name }), 2);
      await untilGone(one, [a, c]);
      assert.deepEqual(await one.jobs.deadLetters({ name: one.name }), []);
    },
  },
  {
    name: 'none of a paused name begins, until it is resumed; others go on',
    async run(driver) {
      const names = [newName(), newName()] as const;
      const jobs = driver.open(names);
      const [held, other] = [
        { jobs, name: names[0] },
        { jobs, name: names[1] },
      ];
      await jobs.pause(held.name);
      const ran: unknown[] = [];
      await using _worker = await startWorker(held, async (input) => void ran.push(input));
      await using _another = await startWorker(other, async () => undefined);
      const ids = [await jobs.add(held.name, 1), await jobs.add(held.name, 2, { delayMs: 1 })];
      for (let n = 0; n < 5; n += 1) await untilGone(other, [await jobs.add(other.name, n)]);
      assert.deepEqual(ran, []);
      assert.equal((await jobs.status(ids[0] ?? ''))?.state, 'queued');
      await jobs.resume(held.name);
      await untilGone(held, ids);
      assertSame(ran, [1, 2]);
    },
  },
  {
    name: 'no more of a name run at once than its limit, in all workers together',
    async run(driver) {
      const one = openOne(driver);
      await one.jobs.limit(one.name, { concurrency: 2 });
      let [now, most] = [0, 0];
      const run = async (): Promise<void> => {
        now += 1;
        most = Math.max(most, now);
        await new Promise((resolve) => setTimeout(resolve, 3));
        now -= 1;
      };
      await using _first = await startWorker(one, run);
      await using _second = await startWorker(one, run);
      const ids = await one.jobs.addAll(
        Array.from({ length: 40 }, (_, input) => ({ name: one.name, input })),
      );
      await untilGone(one, ids);
      assert.equal(most, 2);
    },
  },
  {
    name: 'no more of a name begin than its rate, until that is lifted; limits that are not valid are refused',
    async run(driver) {
      const one = openOne(driver);
      await one.jobs.limit(one.name, { rate: { tasks: 2, perMs: 3_600_000 } });
      let ran = 0;
      await using _worker = await startWorker(one, async () => void (ran += 1));
      const ids = await one.jobs.addAll(Array.from({ length: 5 }, (_, input) => ({ name: one.name, input })));
      await eventually('two have run', () => ran === 2);
      const waiting = async (): Promise<number> =>
        (await Promise.all(ids.map((id) => one.jobs.status(id)))).filter(
          (status) => status?.state === 'queued',
        ).length;
      await eventually('the others wait', async () => (await waiting()) === 3);
      await one.jobs.limit(one.name, undefined);
      await untilGone(one, ids);
      for (const limits of [
        { concurrency: 0 },
        { rate: { tasks: 0, perMs: 1 } },
        { rate: { tasks: 1, perMs: 0 } },
      ])
        await assert.rejects(one.jobs.limit(one.name, limits), { code: 'PL_CONFIG' });
    },
  },
];
