import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { sql } from '../database/sql.ts';
import { testModule, type TestedModule } from '../testing/test-module.ts';
import { untilIdle } from '../testing/until-idle.ts';
import { command, contract, event } from './contract.ts';
import { module, type CommandContext } from './module.ts';

const billing = contract('billing', {
  charge: command({
    input: z.object({ order: z.string() }),
    output: z.unknown(),
    errors: { Refused: z.object({}) },
  }),
  chargeLater: command({ input: z.object({ order: z.string() }) }),
  ordered: event({ payload: z.object({ order: z.string() }) }),
});
type Context = Pick<
  CommandContext<'billing', 'billing', { Refused: z.ZodObject }>,
  'external' | 'tx' | 'fail'
>;

/** What the bank was asked, by key. */
const asked: string[] = [];
/** What it answers. */
let bank: (signal: AbortSignal) => Promise<unknown>;
/** What the handler does after the bank has answered. */
let after: (context: Context) => Promise<unknown>;

const ask = (context: Pick<Context, 'external'>, order: string): Promise<unknown> =>
  context.external('bank', order, (signal, key) => {
    asked.push(key);
    return bank(signal);
  });
const billingModule = module(billing, {
  owns: { schema: 'billing' },
  commands: {
    async charge({ order }, context) {
      const answer = await ask(context, order);
      return ((await after(context as unknown as Context)) ?? answer) as never;
    },
    async chargeLater({ order }, context) {
      await ask(context, order);
      await after(context as unknown as Context);
    },
  },
  on: (on) => [
    on(billing.ordered, { name: 'charge-ordered' }, async ({ order }, context) => {
      await ask(context, order);
      await after(context as unknown as Context);
    }),
  ],
});

let server: TestDatabase;
let app: TestedModule;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = await testModule(billingModule, { database: server });
});
afterAll(async () => {
  await app.stop();
  await server.drop();
});
beforeEach(async () => {
  asked.length = 0;
  bank = () => Promise.resolve({ charged: true });
  after = () => Promise.resolve();
  await app.database.execute(sql`truncate plimsoll.external, plimsoll.task`);
});

const charge = (order = 'o1'): Promise<unknown> => app.call(billing.charge, { order });
const rows = (): Promise<unknown[]> =>
  app.database.query(
    sql`select scope, key, state, attempt, result, busy_until <= now() as free from plimsoll.external order by key`,
  );

test('once its result is committed the effect is not run again, and the same result is told', async () => {
  const results = [await charge(), await charge(), await charge('o2')];
  expect(results).toEqual(Array.from({ length: 3 }, () => ({ ok: true, value: { charged: true } })));
  expect(asked).toEqual(['billing.charge/bank/o1', 'billing.charge/bank/o2']);
  expect(await rows()).toMatchObject([
    {
      scope: 'billing.charge/bank',
      key: 'o1',
      state: 'done',
      attempt: 1,
      result: { value: { charged: true } },
    },
    { key: 'o2', state: 'done' },
  ]);
});

test('null and nothing are results, and stay apart', async () => {
  for (const [order, answer] of [
    ['null', null],
    ['nothing', undefined],
  ] as const) {
    bank = () => Promise.resolve(answer);
    expect([await charge(order), await charge(order)]).toEqual([
      { ok: true, value: answer },
      { ok: true, value: answer },
    ]);
  }
  expect(asked).toHaveLength(2);
});

test('the result is recorded only with the commit: after a throw or a declared error it is asked again, by the same key', async () => {
  after = () => Promise.reject(new Error('after the bank'));
  await expect(charge()).rejects.toThrow('after the bank');
  expect(await rows()).toMatchObject([{ state: 'intent', result: null, free: true }]);
  after = ({ fail }) => Promise.resolve(fail('Refused', {}));
  expect(await charge()).toMatchObject({ ok: false, error: 'Refused' });
  after = () => Promise.resolve();
  await charge();
  expect(asked).toEqual(Array.from({ length: 3 }, () => 'billing.charge/bank/o1'));
  expect(await rows()).toMatchObject([{ state: 'done', attempt: 3 }]);
});

test('an effect that throws can be begun again at once', async () => {
  bank = () => Promise.reject(new Error('bank is down'));
  await expect(charge()).rejects.toThrow('bank is down');
  bank = () => Promise.resolve({ charged: true });
  expect(await charge()).toMatchObject({ ok: true });
  expect(new Set(asked).size).toBe(1);
});

test('what a process that died has left is taken up with the same key, but not while it may still run', async () => {
  // The row as it is between the commit of the intent and that of the result.
  await app.database.execute(sql`
    insert into plimsoll.external (scope, key, busy_until)
    values ('billing.charge/bank', 'running', now() + interval '1 minute'), ('billing.charge/bank', 'dead', now() - interval '1 second')`);
  await expect(charge('running')).rejects.toMatchObject({
    code: 'PL_EXTERNAL_BUSY',
    retryable: true,
    data: { scope: 'billing.charge/bank', key: 'running' },
  });
  expect(asked).toEqual([]);
  expect(await charge('dead')).toMatchObject({ ok: true });
  expect(asked).toEqual(['billing.charge/bank/dead']);
});

test('of many at once one asks; the others are told that it is busy, or get its result', async () => {
  const { promise: answered, resolve: answer } = Promise.withResolvers<unknown>();
  bank = () => answered;
  const first = charge();
  await expect.poll(() => asked.length, { timeout: 10_000 }).toBe(1);
  const others = await Promise.allSettled([charge(), charge(), charge()]);
  expect(
    others.map((other) => other.status === 'rejected' && (other.reason as { code: string }).code),
  ).toEqual(Array.from({ length: 3 }, () => 'PL_EXTERNAL_BUSY'));
  answer({ charged: 1 });
  expect(await first).toEqual({ ok: true, value: { charged: 1 } });
  expect(await charge()).toEqual({ ok: true, value: { charged: 1 } });
  expect(asked).toHaveLength(1);
});

test('asked twice in one handler, it is one effect', async () => {
  after = ({ external }) => external('bank', 'o1', () => Promise.reject(new Error('asked again')));
  expect(await charge()).toEqual({ ok: true, value: { charged: true } });
});

test('no transaction is held while the outside is asked; inside a transaction it is refused', async () => {
  bank = () =>
    app.database.one(sql`
      select count(*)::int as open from pg_stat_activity
      where datname = current_database() and state like 'idle in transaction%'`);
  expect(await charge()).toEqual({ ok: true, value: { open: 0 } });
  after = async ({ tx, external }) => {
    await tx.query(sql`select 1`);
    return external('second', 'o1', () => Promise.resolve(1));
  };
  await expect(charge('o2')).rejects.toMatchObject({
    code: 'PL_CALL_IN_TRANSACTION',
    data: { caller: 'billing.charge', external: 'second' },
  });
});

test('a result that is not JSON is refused', async () => {
  bank = () => Promise.resolve({ at: new Map() });
  await expect(charge()).rejects.toMatchObject({ code: 'PL_PAYLOAD_INVALID', data: { path: 'at' } });
});

test('a delivery that fails after the effect asks again by the same key, until its commit', async () => {
  let failures = 2;
  after = () => (failures-- > 0 ? Promise.reject(new Error('not yet')) : Promise.resolve());
  await app.publish(billing.ordered, { order: 'o7' });
  await untilIdle(app);
  expect(asked).toEqual(Array.from({ length: 3 }, () => 'billing.charge-ordered/bank/o7'));
  expect(await rows()).toMatchObject([{ state: 'done', key: 'o7' }]);
});
