import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createApp, type App, type AppOptions } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { sql } from '../database/sql.ts';
import { createContext, currentContext, runInContext, type Caller } from '../kernel/context.ts';
import { insertEvents } from '../outbox/events.ts';
import { untilIdle } from '../testing/until-idle.ts';
import { command, contract, event, query } from './contract.ts';
import { module } from './module.ts';

const anything = z.object({ value: z.unknown() });
const far = contract('far', {
  echo: command({
    input: anything,
    output: anything,
    errors: { Bad: anything },
  }),
  look: query({ input: anything, output: anything }),
  at: command({ input: z.object({ at: z.coerce.date() }), output: z.object({ at: z.coerce.date() }) }),
});
const near = contract('near', {
  ask: command({ input: z.object({ how: z.string() }), output: anything }),
  echo: command({ input: anything, output: anything }),
  note: command({ input: z.object({}) }),
  happened: event({ payload: anything }),
  changed: event({
    payload: z.object({ sku: z.string() }),
    version: 3,
    upcast: {
      1: (old) => ({ id: (old as { name: string }).name }),
      2: (old) => ({ sku: (old as { id: string }).id.toUpperCase() }),
    },
  }),
});

let answer: (given: unknown) => unknown;
let ask: (call: {
  far: (value: unknown) => Promise<unknown>;
  look: (value: unknown) => Promise<unknown>;
  at: (at: Date) => Promise<unknown>;
  own: (value: unknown) => Promise<unknown>;
}) => Promise<unknown>;
const seen: { readonly where: string; readonly caller: Caller | undefined; readonly value?: unknown }[] = [];
const note = (where: string, value?: unknown): void =>
  void seen.push({ where, caller: currentContext()?.caller, value });

const farModule = module(far, {
  owns: { schema: 'far' },
  commands: {
    echo: ({ value }, { fail }) => {
      note('far.echo', value);
      const result = answer(value);
      return Promise.resolve(
        result instanceof Error ? fail('Bad', { value: result.cause }) : { value: result },
      );
    },
    at: ({ at }) => Promise.resolve({ at }),
  },
  queries: {
    look: ({ value }) => {
      note('far.look');
      return Promise.resolve({ value: answer(value) });
    },
  },
});
const nearModule = module(near, {
  owns: { schema: 'near' },
  uses: [far],
  commands: {
    ask: async ({ how }, { call, emit, enqueue }) => {
      note('near.ask');
      if (how === 'emit') emit(near.happened, { value: await ask({} as never) });
      if (how === 'enqueue') enqueue(near.note, {});
      if (how !== 'call') return { value: undefined };
      const value = await ask({
        far: (given) => call(far.echo, { value: given }),
        look: (given) => call(far.look, { value: given }),
        at: (at) => call(far.at, { at }),
        own: (given) => call(near.echo, { value: given }),
      });
      return { value };
    },
    echo: ({ value }) => Promise.resolve({ value: answer(value) }),
    note: () => Promise.resolve(note('near.note')),
  },
  on: (on) => [
    on(near.happened, { name: 'hear' }, ({ value }) => Promise.resolve(note('near.hear', value))),
    on(near.changed, { name: 'follow', maxAttempts: 2 }, ({ sku }) =>
      Promise.resolve(note('near.follow', sku)),
    ),
  ],
});

let server: TestDatabase;
let app: App;
async function start(options: Partial<AppOptions> = {}): Promise<void> {
  app = createApp(
    plan({
      name: 'between',
      modules: [farModule, nearModule],
      worker: { pollMs: 20, backoff: { baseMs: 1, maxMs: 2 } },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
    }),
    { databaseUrl: server.url, listen: false, ...options },
  );
  await app.start();
}
beforeEach(async () => {
  seen.length = 0;
  answer = (given) => given;
  server = await createTestDatabase(inject('cluster'));
});
afterEach(async () => {
  await app.stop();
  await server.drop();
});

describe('what goes from module to module goes through JSON', () => {
  const throughCall = async (run: typeof ask): Promise<unknown> => {
    ask = run;
    return (await app.call(near.ask, { how: 'call' })).value;
  };

  test('input, output and declared errors, of commands and queries, are copies', async () => {
    await start();
    const given = { list: [1] };
    const answered: { list: number[] }[] = [];
    answer = (value) => {
      const result = value as { list: number[] };
      result.list.push(2);
      answered.push(result);
      return result;
    };
    const results = (await throughCall(async (call) => [await call.far(given), await call.look(given)])) as {
      value: unknown;
    }[];
    expect(given).toEqual({ list: [1] });
    expect(results).toMatchObject([
      { ok: true, value: { value: { list: [1, 2] } } },
      { value: { list: [1, 2] } },
    ]);
    for (const result of answered) expect(results).not.toContain(result);

    const data = { list: [3] };
    answer = () => new Error('bad', { cause: data });
    const failed = (await throughCall((call) => call.far(1))) as { data: { value: unknown } };
    expect(failed).toMatchObject({ ok: false, error: 'Bad', data: { value: data } });
    expect(failed.data.value).not.toBe(data);
  });

  test('a value that does not survive is refused with its path, wherever it is', async () => {
    await start();
    const lost = (path: string, what: string): object => ({
      code: 'PL_PAYLOAD_INVALID',
      data: { path },
      message: expect.stringMatching(new RegExp(`^${what} is not JSON`)) as string,
    });
    await expect(throughCall((call) => call.far([new Map()]))).rejects.toMatchObject(
      lost('value.0', 'input of far.echo'),
    );
    answer = () => ({ at: [undefined] });
    await expect(throughCall((call) => call.far(1))).rejects.toMatchObject(
      lost('value.at.0', 'output of far.echo'),
    );
    await expect(throughCall((call) => call.look(1))).rejects.toMatchObject(
      lost('value.at.0', 'output of far.look'),
    );
    answer = () => new Error('bad', { cause: new Set() });
    await expect(throughCall((call) => call.far(1))).rejects.toMatchObject(
      lost('value', 'data of error Bad of far.echo'),
    );
    ask = () => Promise.resolve(new Map());
    await expect(app.call(near.ask, { how: 'emit' })).rejects.toMatchObject(
      lost('value', 'payload of near.happened'),
    );
  });

  test('a schema that reads the JSON form gives the type back on both sides', async () => {
    await start();
    const at = new Date(1_000);
    const got: unknown[] = [];
    await throughCall(async (call) => void got.push(await call.at(at)));
    expect(got).toEqual([{ at }]);
    expect((got[0] as { at: Date }).at).not.toBe(at);
  });

  test('a call within one module, and with jsonCalls off any call, passes values as they are', async () => {
    await start();
    const map = new Map();
    const own: unknown[] = [];
    await throughCall(async (call) => void own.push(await call.own(map)));
    expect((own[0] as { value: unknown }).value).toBe(map);
    await app.stop();

    await start({ jsonCalls: false });
    await throughCall(async (call) => void own.push(await call.look(map)));
    expect((own[1] as { value: unknown }).value).toBe(map);
  });
});

test('who asks is known on every hop: call, event, job', async () => {
  await start();
  const caller = { principal: 'ada', tenant: 'acme' };
  ask = (call) => call.look(1).then(() => call.far(1));
  await runInContext(createContext({ caller }), async () => {
    await app.call(near.ask, { how: 'call' });
    ask = () => Promise.resolve(1);
    await app.call(near.ask, { how: 'emit' });
    await app.call(near.ask, { how: 'enqueue' });
  });
  await untilIdle(app);
  expect(new Set(seen.map(({ where }) => where))).toEqual(
    new Set(['near.ask', 'far.look', 'far.echo', 'near.hear', 'near.note']),
  );
  expect(seen.map((one) => one.caller)).toEqual(seen.map(() => caller));
  expect(await app.database.query(sql`select caller from plimsoll.event`)).toEqual([{ caller }]);
});

describe('deliveries of other versions', () => {
  const write = (version: number, payload: unknown): Promise<number> =>
    app.database.execute(
      insertEvents([
        {
          type: 'near.changed',
          version,
          key: undefined,
          correlationId: 'c',
          causationId: undefined,
          caller: {},
          payload,
        },
      ]),
    );

  test('an older one is upcast step by step and then validated', async () => {
    await start();
    await write(1, { name: 'a' });
    await write(2, { id: 'b' });
    await write(3, { sku: 'c' });
    await untilIdle(app);
    expect(seen.map(({ value }) => String(value)).toSorted()).toEqual(['A', 'B', 'c']);
  });

  test('a newer one is tried again, and says so', async () => {
    await start();
    await write(4, { sku: 'd' });
    await expect(untilIdle(app)).rejects.toThrow('1 tasks are parked');
    expect(seen).toEqual([]);
    expect(
      await app.database.query(
        sql`select attempt, last_error->>'code' as code, last_error->>'message' as message from plimsoll.task`,
      ),
    ).toMatchObject([
      { attempt: 2, code: 'PL_EVENT_VERSION', message: expect.stringContaining('version 4') as string },
    ]);
  });
});
