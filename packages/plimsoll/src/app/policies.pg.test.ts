import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createApp, createContext, PlimsollError, runInContext, sql, type App } from '../index.ts';
import { command, contract, query } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { policyFor } from '../modules/module-policies.ts';
import { createPolicy } from '../policy/policy.ts';
import type { PlanOptions } from './plan-options.ts';
import { plan } from './plan.ts';

const nothing = z.object({});
const ill = contract('ill', {
  see: query({ input: nothing, output: nothing }),
  run: command({ input: nothing, output: nothing }),
});
const well = contract('well', { see: query({ input: nothing, output: nothing }) });
const caller = contract('caller', {
  seeIll: query({ input: nothing, output: nothing }),
  runIll: command({ input: nothing, output: nothing }),
  seeWell: query({ input: nothing, output: nothing }),
});

const unavailable = (): Error =>
  new PlimsollError('PL_DATABASE_UNAVAILABLE', 'the database of ill is away, for this test');
// What the ill module does, and how often it was asked.
let symptom: () => Promise<Record<string, never>>;
let asked = 0;
const illness = (): Promise<Record<string, never>> => {
  asked += 1;
  return symptom();
};
const bank = createPolicy({ name: 'bank', retry: false, breaker: { minimumCalls: 2 } });

const modules = [
  module(ill, { owns: { schema: 'ill' }, queries: { see: illness }, commands: { run: illness } }),
  module(well, { owns: { schema: 'well' }, queries: { see: () => Promise.resolve({}) } }),
  module(caller, {
    owns: { schema: 'caller' },
    uses: [ill, well],
    queries: {
      seeIll: (_input, { call }) => call(ill.see, {}),
      seeWell: (_input, { call }) => call(well.see, {}),
    },
    commands: { runIll: (_input, { call }) => call(ill.run, {}) },
  }),
];

let database: TestDatabase;
let app: App;

async function startWith(policies: PlanOptions['policies']): Promise<void> {
  app = createApp(
    plan({
      name: 'guarded',
      modules,
      http: { port: 0 },
      ...(policies === undefined ? {} : { policies }),
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 100, errorRate: 0 } },
    }),
    { databaseUrl: database.url },
  );
  await app.start();
}

const outcomes = async (times: number, call: () => Promise<unknown>): Promise<readonly unknown[]> => {
  const codes: unknown[] = [];
  for (let time = 0; time < times; time += 1)
    codes.push(
      await call().then(
        () => 'ok',
        (error: unknown) => (error as { code?: unknown }).code ?? (error as Error).message,
      ),
    );
  return codes;
};
const stateOf = async (name: string): Promise<unknown> =>
  (await app.telemetry()).policies.modules.find((policy) => policy.name === name)?.breaker?.state;

beforeAll(async () => {
  database = await createTestDatabase(inject('cluster'));
});
afterAll(() => database.drop());
beforeEach(() => {
  asked = 0;
  symptom = () => Promise.resolve({});
});
afterEach(() => app.stop());

describe('calls from one module into another', () => {
  test('a module that is away is no longer asked, and what calls others goes on', async () => {
    await startWith(undefined);
    symptom = () => Promise.reject(unavailable());
    const codes = await outcomes(40, () => app.call(caller.runIll, {}));
    expect(codes.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => 'PL_DATABASE_UNAVAILABLE'));
    expect(new Set(codes.slice(20))).toEqual(new Set(['PL_BREAKER_OPEN']));
    expect(asked).toBe(20);
    expect(await stateOf('ill')).toBe('open');
    expect(await outcomes(3, () => app.call(caller.seeWell, {}))).toEqual(['ok', 'ok', 'ok']);
    expect(await stateOf('well')).toBe('closed');
    expect(await app.metrics()).toContain('plimsoll_breaker_transitions_total{to="open",name="ill"} 1');
  });

  test('a bug fails the calls that meet it, and no others', async () => {
    await startWith(undefined);
    symptom = () => Promise.reject(new TypeError('x is undefined'));
    expect(new Set(await outcomes(40, () => app.call(caller.runIll, {})))).toEqual(
      new Set(['x is undefined']),
    );
    expect(await stateOf('ill')).toBe('closed');
  });

  test('a query is made again, a command is not', async () => {
    await startWith(undefined);
    symptom = () => (asked === 1 ? Promise.reject(unavailable()) : Promise.resolve({}));
    expect(await outcomes(1, () => app.call(caller.seeIll, {}))).toEqual(['ok']);
    expect(asked).toBe(2);
    asked = 0;
    expect(await outcomes(1, () => app.call(caller.runIll, {}))).toEqual(['PL_DATABASE_UNAVAILABLE']);
    expect(asked).toBe(1);
  });

  test('a command under a key of somebody else is made again, as its effect is once', async () => {
    await startWith(undefined);
    symptom = () => (asked === 1 ? Promise.reject(unavailable()) : Promise.resolve({}));
    const under = (): Promise<unknown> =>
      runInContext(createContext({ key: 'k' }), () => app.call(caller.runIll, {}));
    expect(await outcomes(2, under)).toEqual(['ok', 'ok']);
    // Whoever replays runs as far as his first statement, which these have not.
    const { n } = await app.database.one<{ n: number }>(
      sql`select count(*)::int as n from plimsoll.idempotency where scope = 'ill.run'`,
    );
    expect([n, asked]).toEqual([1, 3]);
  });

  test('the plan changes one module, or takes the guards from all', async () => {
    // #region plan
    const policies: PlanOptions['policies'] = {
      modules: { bulkhead: { max: 100 } },
      overrides: [policyFor(ill, { bulkhead: { max: 1, maxWaiting: 0 }, retry: false })],
      outgoing: [bank], // a policy, or an HTTP client
    };
    // #endregion
    await startWith(policies);
    const { promise, resolve } = Promise.withResolvers<Record<string, never>>();
    symptom = () => promise;
    const first = app.call(caller.seeIll, {});
    await expect.poll(() => asked).toBe(1);
    expect(await outcomes(1, () => app.call(caller.seeIll, {}))).toEqual(['PL_BULKHEAD_FULL']);
    resolve({});
    await first;
    await app.stop();

    await startWith({ modules: false });
    symptom = () => Promise.reject(unavailable());
    expect(new Set(await outcomes(40, () => app.call(caller.seeIll, {})))).toEqual(
      new Set(['PL_DATABASE_UNAVAILABLE']),
    );
    expect((await app.telemetry()).policies.modules).toEqual([]);
  });
});

test('what the plan lists as outgoing is in the telemetry of the app', async () => {
  await startWith({ outgoing: [bank] });
  const fails = (): Promise<unknown> =>
    bank.run(() => Promise.reject(Object.assign(new Error('no'), { status: 503 })), { safe: true });
  await outcomes(3, fails);
  expect((await app.telemetry()).policies.outgoing).toMatchObject([
    { name: 'bank', breaker: { state: 'open' } },
  ]);
  const metrics = await app.metrics();
  expect(metrics).toContain('plimsoll_breaker_transitions_total{to="open",name="bank"} 1');
  expect(metrics).toContain('plimsoll_refusals_total{policy="breaker",name="bank"}');
});
