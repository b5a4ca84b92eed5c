import { randomUUID } from 'node:crypto';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { sql } from '../database/sql.ts';
import { tasks } from '../kernel/channels.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { command, contract } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { untilIdle } from '../testing/until-idle.ts';
import { showSaga } from './read.ts';
import { saga } from './saga.ts';

const id = z.object({ id: z.string() });
const kitchen = contract('kitchen', {
  order: command({ input: id.extend({ fails: z.boolean().optional() }) }),
  cook: command({ input: id }),
  serve: command({ input: id }),
});
const meal = saga({ version: 1, input: id, uses: [kitchen] }, async (run, input) => {
  asked.push(`asked ${input.id}`);
  await run.step('cook', kitchen.cook, input);
  await run.step('serve', kitchen.serve, input);
  if (input.id === 'gone') await run.sleep('wash up', 1);
});

/** What the code asked for and what was called, in order. */
let asked: string[] = [];
/** Holds the cook. */
let held: Promise<void> = Promise.resolve();

const kitchenModule = module(kitchen, {
  owns: { schema: 'kitchen' },
  sagas: { meal },
  commands: {
    async order({ id, fails = false }, { start, tx }) {
      start(meal, { id }, { id });
      // Refused at COMMIT, when all is written and the code has run.
      if (fails) await tx.execute(sql`insert into kitchen.refused values (1)`);
    },
    async cook({ id }) {
      asked.push(`cook ${id}`);
      await held;
    },
    async serve({ id }) {
      asked.push(`serve ${id}`);
    },
  },
});

let server: TestDatabase;
let app: App;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(
    plan({
      name: 'kitchen',
      modules: [kitchenModule],
      worker: { pollMs: 20, concurrency: 2, backoff: { baseMs: 1, maxMs: 10 } },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
    }),
    { databaseUrl: server.url, listen: false },
  );
  await app.start();
  await app.database.execute(sql`create schema kitchen`);
  await app.database.execute(sql`create table kitchen.refused (n int)`);
  await app.database.execute(sql`
    create function kitchen.refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$`);
  await app.database.execute(sql`
    create constraint trigger refuse after insert on kitchen.refused deferrable initially deferred
    for each row execute function kitchen.refuse()`);
  // The first one waits its turn: the clock of the database is not known yet.
  await order('first');
  await untilIdle(app);
});
afterAll(async () => {
  await app.stop();
  await server.drop();
});

const order = (id: string, fails?: boolean): Promise<unknown> =>
  app.call(kitchen.order, { id, ...(fails === undefined ? {} : { fails }) });
/** In the transaction of its start, for as long as its first step is called. */
const begunHere = (id: string) =>
  app.database.query(sql`
    select t.state, t.started_at = t.created_at as here, s.rev, (select string_agg(kind || ' ' || name, ', ') from plimsoll.saga_step where saga = s.id) as steps
    from plimsoll.saga s join plimsoll.task t on t.id = s.task where s.id = ${`kitchen.meal/${id}`}`);
/** Once a look has found that nothing waits. */
const untilHere = (): Promise<void> =>
  expect
    .poll(
      async () => {
        const { promise, resolve } = Promise.withResolvers<void>();
        held = promise;
        const each = randomUUID();
        await order(each);
        const [row] = await begunHere(each);
        resolve();
        await untilIdle(app);
        return (row as { here?: boolean } | undefined)?.here;
      },
      { timeout: 20_000 },
    )
    .toBe(true);

test('a saga begins where it is started: running, and with its first step, as of the same commit', async () => {
  await untilHere();
  const { promise, resolve } = Promise.withResolvers<void>();
  held = promise;
  asked = [];
  await order('1');
  expect(await begunHere('1')).toEqual([{ state: 'running', here: true, rev: 1, steps: 'began cook' }]);
  await expect.poll(() => asked).toEqual(['asked 1', 'cook 1']);
  resolve();
  await untilIdle(app);
  expect(asked).toEqual(['asked 1', 'cook 1', 'serve 1']);
  expect(
    (await showSaga(app.database, 'kitchen.meal/1')).history.map(({ kind, name }) => `${kind} ${name}`),
  ).toEqual(['began cook', 'done null', 'began serve', 'done null']);
  expect(await app.database.query(sql`select * from plimsoll.task`)).toEqual([]);
});

test('it outlives the request that has started it', async () => {
  await untilHere();
  const { promise, resolve } = Promise.withResolvers<void>();
  held = promise;
  const gone = new AbortController();
  const ends: string[] = [];
  const stop = tasks.subscribe(({ outcome, attempt }) => ends.push(`${outcome} ${attempt}`));
  await runInContext(createContext({ signal: gone.signal }), () => order('gone'));
  await expect.poll(() => asked).toContain('cook gone');
  gone.abort();
  resolve();
  await untilIdle(app);
  stop();
  expect(await showSaga(app.database, 'kitchen.meal/gone')).toMatchObject({ state: 'done' });
  expect(ends).toEqual(['done 1', 'done 1']);
});

test('one whose start is rolled back has called nothing, and leaves its slot', async () => {
  await untilHere();
  asked = [];
  // More than there are slots.
  for (let n = 0; n < 5; n += 1)
    await expect(order('2', true)).rejects.toMatchObject({ message: expect.stringContaining('not now') });
  expect(asked).toEqual(Array.from({ length: 5 }, () => 'asked 2'));
  await order('3');
  await untilIdle(app);
  expect(asked.slice(5)).toEqual(['asked 3', 'cook 3', 'serve 3']);
  expect(await app.database.query(sql`select id from plimsoll.saga where id = 'kitchen.meal/2'`)).toEqual([]);
});

test('an id that is started again while it runs is one saga, and done once', async () => {
  await untilHere();
  const { promise, resolve } = Promise.withResolvers<void>();
  held = promise;
  asked = [];
  await order('4');
  await order('4');
  await expect.poll(() => app.database.query(sql`select * from plimsoll.task`)).toHaveLength(1);
  resolve();
  await untilIdle(app);
  expect(asked.filter((what) => !what.startsWith('asked'))).toEqual(['cook 4', 'serve 4']);
  expect((await showSaga(app.database, 'kitchen.meal/4')).history).toHaveLength(4);
});

test('those for which there is no slot wait their turn', async () => {
  await untilHere();
  const { promise, resolve } = Promise.withResolvers<void>();
  held = promise;
  asked = [];
  const ids = ['5', '6', '7', '8'];
  for (const each of ids) await order(each);
  expect(await begunHere('8')).toEqual([{ state: 'ready', here: null, rev: 0, steps: null }]);
  resolve();
  await untilIdle(app);
  expect(asked.filter((what) => what.startsWith('serve')).toSorted()).toEqual(
    ids.map((each) => `serve ${each}`),
  );
});
