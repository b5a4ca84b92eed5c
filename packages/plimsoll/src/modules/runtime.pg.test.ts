import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan, type Plan } from '../app/plan.ts';
import { sql } from '../database/sql.ts';
import { createContext, currentContext, runInContext } from '../kernel/context.ts';
import { untilIdle } from '../testing/until-idle.ts';
import { command, contract, event, query, type AnyOperation } from './contract.ts';
import { module } from './module.ts';

/** What a test wants the next handler to do; reset before each. */
type Script = Readonly<Record<string, (...given: never[]) => unknown>>;
let script: Script = {};
const seen: {
  readonly where: string;
  readonly correlationId: string;
  readonly causationId: string | undefined;
  readonly key: string;
  readonly caller: unknown;
  readonly path: readonly string[];
}[] = [];
const note = (where: string): void => {
  const context = currentContext();
  if (context === undefined) return;
  const { correlationId, causationId, key, caller, path } = context;
  seen.push({ where, correlationId, causationId, key, caller, path });
};
const act = (name: string, ...given: unknown[]): unknown =>
  (script[name] as ((...of: unknown[]) => unknown) | undefined)?.(...given);

const stock = contract('stock', {
  take: command({ input: z.object({ sku: z.string() }), output: z.object({ taken: z.boolean() }) }),
  level: query({ input: z.object({ sku: z.string() }), output: z.object({ level: z.number() }) }),
});
const shop = contract('shop', {
  order: command({
    input: z.object({ sku: z.string().trim() }),
    output: z.object({ id: z.number() }).optional(),
    errors: { SoldOut: z.object({ sku: z.string() }) },
  }),
  mail: command({ input: z.object({ to: z.string().transform((to) => to.toUpperCase()) }) }),
  slow: command({ input: z.object({}), timeoutMs: 50 }),
  count: query({ input: z.object({}), output: z.number() }),
  ordered: event({
    payload: z.object({ sku: z.string(), at: z.string().transform((at) => at.length) }),
    key: (payload) => payload.sku,
    version: 3,
  }),
});
const undeclared = contract('undeclared', { poke: command({ input: z.object({}) }) });

const stockModule = module(stock, {
  owns: { schema: 'stock', migrations: new URL('./fixtures/stock/', import.meta.url) },
  commands: {
    take: async (input, context) =>
      ((await act('take', input, context)) as { taken: boolean } | undefined) ?? { taken: true },
  },
  queries: { level: async () => ({ level: 7 }) },
});
const undeclaredModule = module(undeclared, {
  owns: { schema: 'undeclared' },
  commands: { poke: async () => undefined },
});
const shopModule = module(shop, {
  owns: { schema: 'shop', migrations: new URL('./fixtures/', import.meta.url) },
  uses: [stock],
  commands: {
    async order(input, context) {
      note('order');
      return (await act('order', input, context)) as never;
    },
    async mail({ to }, { tx }) {
      note('mail');
      await tx.execute(sql`insert into shop.mail (recipient) values (${to})`);
      await act('mail', to);
    },
    async slow(_input, context) {
      await act('slow', context);
    },
  },
  queries: {
    count: async (_input, { db }) => {
      await act('count', db);
      return (await db.one<{ n: number }>(sql`select count(*)::int as n from shop.mail`)).n;
    },
  },
  on: (on) => [
    on(shop.ordered, { name: 'remember', maxAttempts: 3 }, async (payload, context) => {
      note('remember');
      await context.tx.execute(
        sql`insert into shop.seen (sku, length, attempt) values (${payload.sku}, ${payload.at}, ${context.delivery.attempt})`,
      );
      await act('remember', payload, context);
    }),
  ],
});

const thePlan: Plan = plan({
  name: 'runtime-test',
  modules: [stockModule, shopModule, undeclaredModule],
  worker: { backoff: { baseMs: 1, maxMs: 5 }, pollMs: 20 },
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
});

let server: TestDatabase;
let app: App;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(thePlan, { databaseUrl: server.url, listen: false, strictCalls: true });
  await app.start();
});
afterAll(async () => {
  await app.stop();
  await server.drop();
});
beforeEach(async () => {
  await untilIdle(app).catch(() => undefined);
  script = {};
  seen.length = 0;
  await app.database.execute(
    sql`truncate shop.mail, shop.seen, plimsoll.event, plimsoll.outbox, plimsoll.task, plimsoll.inbox`,
  );
});

type OrderContext = Parameters<
  Parameters<typeof module<typeof shop, readonly [typeof stock]>>[1]['commands']['order']
>[1];
const order = (run: (input: { sku: string }, context: OrderContext) => unknown): Promise<unknown> => {
  script = { ...script, order: run };
  return app.call(shop.order, { sku: ' a ' });
};
const events = (): Promise<unknown[]> =>
  app.database.query(
    sql`select type, version, key, payload from plimsoll.outbox union all select type, version, key, payload from plimsoll.event`,
  );

describe('commands', () => {
  test('input is transformed once, on the callee', async () => {
    expect(await order((input) => ({ id: input.sku.length }))).toEqual({ ok: true, value: { id: 1 } });
  });

  test('wrong input and wrong output are refused, naming the place', async () => {
    await expect(app.call(shop.order, { sku: 1 } as never)).rejects.toMatchObject({
      code: 'PL_INPUT_INVALID',
      message: expect.stringContaining('input of shop.order is not valid: sku'),
    });
    await expect(order(() => ({ id: 'x' }))).rejects.toMatchObject({ code: 'PL_OUTPUT_INVALID' });
  });

  test('a throw rolls back statements, events and jobs', async () => {
    await expect(
      order(async (_input, { tx, emit, enqueue }) => {
        await tx.execute(sql`insert into shop.mail (recipient) values ('gone')`);
        emit(shop.ordered, { sku: 'a', at: 'now' });
        enqueue(shop.mail, { to: 'x' });
        throw new Error('boom');
      }),
    ).rejects.toThrow('boom');
    expect(await events()).toEqual([]);
    expect(
      await app.database.query(sql`select 1 from shop.mail union all select 1 from plimsoll.task`),
    ).toEqual([]);
  });

  test('a wrong output rolls back too', async () => {
    await expect(
      order(async (_input, { tx }) => {
        await tx.execute(sql`insert into shop.mail (recipient) values ('gone')`);
        return { id: 'no number' };
      }),
    ).rejects.toMatchObject({ code: 'PL_OUTPUT_INVALID' });
    expect(await app.database.query(sql`select 1 from shop.mail`)).toEqual([]);
  });

  test('an event or a job is validated at once, where it is made', async () => {
    await expect(order((_input, { emit }) => emit(shop.ordered, { sku: 1 } as never))).rejects.toMatchObject({
      code: 'PL_PAYLOAD_INVALID',
    });
    await expect(order((_input, { enqueue }) => enqueue(shop.mail, {} as never))).rejects.toMatchObject({
      code: 'PL_PAYLOAD_INVALID',
    });
    await expect(order((_input, { fail }) => fail('SoldOut', {} as never))).rejects.toMatchObject({
      code: 'PL_PAYLOAD_INVALID',
    });
  });

  test('what was not declared is refused at run time as well', async () => {
    await expect(
      order((_input, { call }) => call(undeclared.poke as never, {} as never)),
    ).rejects.toMatchObject({ code: 'PL_USES_UNDECLARED' });
    await expect(
      order((_input, { enqueue }) => enqueue(undeclared.poke as never, {} as never)),
    ).rejects.toMatchObject({ code: 'PL_USES_UNDECLARED' });
    await expect(order((_input, { fail }) => fail('Other' as never, {} as never))).rejects.toMatchObject({
      code: 'PL_UNDECLARED_ERROR',
    });
    const foreign = contract('stock', { happened: event({ payload: z.object({}) }) });
    await expect(
      order((_input, { emit }) => emit(foreign.happened as never, {} as never)),
    ).rejects.toMatchObject({ code: 'PL_FOREIGN_EVENT' });
  });

  test('an operation of no module of this app is unknown, also when its name is known', async () => {
    const twin = contract('stock', { level: query({ input: z.object({}), output: z.object({}) }) });
    await expect(app.call(twin.level as AnyOperation, {})).rejects.toMatchObject({
      code: 'PL_UNKNOWN_OPERATION',
    });
  });

  test('a call while the transaction is open is refused; before it is fine', async () => {
    await expect(
      order(async (_input, { tx, call }) => {
        await tx.query(sql`select 1`);
        await call(stock.level, { sku: 'a' });
      }),
    ).rejects.toMatchObject({ code: 'PL_CALL_IN_TRANSACTION' });
    const fine = await order(async (_input, { tx, call }) => {
      const { level } = await call(stock.level, { sku: 'a' });
      await tx.query(sql`select 1`);
      return { id: level };
    });
    expect(fine).toEqual({ ok: true, value: { id: 7 } });
  });

  test('a call commits by itself: the failing caller does not undo it', async () => {
    script = {
      take: async (_input: unknown, { tx }: OrderContext) =>
        void (await tx.execute(sql`insert into stock.taken (sku) values ('from take')`)),
    };
    await expect(
      order(async (_input, { call }) => {
        await call(stock.take, { sku: 'a' });
        throw new Error('after');
      }),
    ).rejects.toThrow('after');
    expect(await app.database.query(sql`select sku from stock.taken`)).toEqual([{ sku: 'from take' }]);
  });

  test('a context kept beyond its handler throws', async () => {
    let kept: OrderContext | undefined;
    await order((_input, context) => {
      kept = context;
      return { id: 1 };
    });
    expect(() => kept!.emit(shop.ordered, { sku: 'a', at: '' })).toThrow(
      expect.objectContaining({ code: 'PL_HANDLER_ENDED' }),
    );
    expect(() => kept!.enqueue(shop.mail, { to: 'a' })).toThrow(
      expect.objectContaining({ code: 'PL_HANDLER_ENDED' }),
    );
    await expect(kept!.tx.query(sql`select 1`)).rejects.toMatchObject({ code: 'PL_TRANSACTION_ENDED' });
  });

  test('after its deadline a command cannot commit', async () => {
    script = {
      slow: async ({ tx, signal }: OrderContext) => {
        await tx.execute(sql`insert into shop.mail (recipient) values ('late')`);
        await new Promise<void>((resolve) =>
          signal.addEventListener('abort', () => resolve(), { once: true }),
        );
      },
    };
    await expect(app.call(shop.slow, {})).rejects.toMatchObject({ code: 'PL_DEADLINE' });
    expect(await app.database.query(sql`select 1 from shop.mail`)).toEqual([]);
  });
});

describe('queries', () => {
  test('cannot write, also where there is no replica', async () => {
    script = {
      count: (db: { execute: (statement: unknown) => Promise<number> }) =>
        db.execute(sql`insert into shop.mail (recipient) values ('x')`),
    };
    await expect(app.call(shop.count, {})).rejects.toThrow(/read-only/);
  });
});

describe('events and jobs', () => {
  test('carry correlation, cause, caller and a stable key; transforms run where they are received', async () => {
    const context = createContext({
      correlationId: 'corr-1',
      key: 'key-1',
      caller: { principal: 'ada', tenant: 't' },
    });
    script = {
      order: (_input: unknown, { emit, enqueue }: OrderContext) => {
        emit(shop.ordered, { sku: 'a', at: '12345' });
        enqueue(shop.mail, { to: 'ada' });
        return { id: 1 };
      },
    };
    await runInContext(context, () => app.call(shop.order, { sku: 'a' }));
    await untilIdle(app);
    expect(await events()).toEqual([
      { type: 'shop.ordered', version: 3, key: 'a', payload: { sku: 'a', at: '12345' } },
    ]);
    expect(await app.database.query(sql`select sku, length from shop.seen`)).toEqual([
      { sku: 'a', length: 5 },
    ]);
    expect(await app.database.query(sql`select recipient from shop.mail`)).toEqual([{ recipient: 'ADA' }]);
    const of = (where: string): (typeof seen)[number] => seen.find((entry) => entry.where === where)!;
    for (const where of ['order', 'remember', 'mail'])
      expect(of(where)).toMatchObject({ correlationId: 'corr-1', caller: { principal: 'ada', tenant: 't' } });
    expect(of('remember')).toMatchObject({
      causationId: expect.stringMatching(/^event:\d+\/shop\.remember$/),
      path: ['shop.remember'],
    });
    expect(of('mail')).toMatchObject({
      causationId: expect.stringMatching(/^job:[0-9a-f-]{36}$/),
      path: ['shop.mail'],
    });
  });

  test('a failing reaction leaves nothing behind and is tried again with the same key', async () => {
    script = {
      order: (_input: unknown, { emit }: OrderContext) => {
        emit(shop.ordered, { sku: 'a', at: '' });
        return { id: 1 };
      },
      remember: (_payload: unknown, { delivery }: { delivery: { attempt: number } }) => {
        if (delivery.attempt < 3) throw new Error('not yet');
      },
    };
    await app.call(shop.order, { sku: 'a' });
    await untilIdle(app);
    expect(await app.database.query(sql`select attempt from shop.seen`)).toEqual([{ attempt: 3 }]);
    const keys = seen.filter(({ where }) => where === 'remember').map(({ key }) => key);
    expect(keys).toHaveLength(3);
    expect(new Set(keys).size).toBe(1);
  });

  test('a delivery that another worker has taken over meanwhile is rolled back here', async () => {
    let tries = 0;
    script = {
      order: (_input: unknown, { emit }: OrderContext) => {
        emit(shop.ordered, { sku: 'a', at: '' });
        return { id: 1 };
      },
      // The first try finds, just before its commit, that the task was given to somebody else.
      remember: async () => {
        tries += 1;
        if (tries === 1)
          await app.database.execute(
            sql`update plimsoll.task set state = 'ready', worker = null where name = 'shop.remember'`,
          );
      },
    };
    await app.call(shop.order, { sku: 'a' });
    await expect.poll(() => tries, { timeout: 10_000 }).toBe(2);
    await untilIdle(app);
    expect(await app.database.query(sql`select attempt from shop.seen`)).toEqual([{ attempt: 2 }]);
  });

  test('an event delivered a second time has no second effect', async () => {
    script = {
      order: (_input: unknown, { emit }: OrderContext) => {
        emit(shop.ordered, { sku: 'a', at: '' });
        return { id: 1 };
      },
    };
    await app.call(shop.order, { sku: 'a' });
    await untilIdle(app);
    await app.database.execute(sql`
      insert into plimsoll.task (id, kind, name, max_attempts, correlation_id, payload)
      select gen_random_uuid(), 'delivery', 'shop.remember', 3, 'again', jsonb_build_object('id', id::text, 'position', position, 'type', type, 'version', version, 'payload', payload)
      from plimsoll.event`);
    await untilIdle(app);
    expect(seen.filter(({ where }) => where === 'remember')).toHaveLength(2);
    expect(await app.database.query(sql`select sku from shop.seen`)).toHaveLength(1);
  });

  test('a job whose command fails with a declared error is tried again and parked, with the error to read', async () => {
    await app.database.execute(sql`
      insert into plimsoll.task (id, kind, name, max_attempts, correlation_id, payload) values (gen_random_uuid(), 'job', 'shop.order', 2, 'c', '{"sku": "a"}')`);
    script = { order: (_input: unknown, { fail }: OrderContext) => fail('SoldOut', { sku: 'a' }) };
    await expect(untilIdle(app)).rejects.toThrow(/parked/);
    expect(
      await app.database.query(sql`select state, attempt, last_error->>'code' as code from plimsoll.task`),
    ).toEqual([{ state: 'parked', attempt: 2, code: 'PL_JOB_FAILED' }]);
  });

  test('a poison payload is parked, and the others go on', async () => {
    await app.database.execute(sql`
      insert into plimsoll.task (id, kind, name, max_attempts, correlation_id, payload) values
        (gen_random_uuid(), 'job', 'shop.mail', 2, 'c', '"no object"'), (gen_random_uuid(), 'delivery', 'shop.remember', 1, 'c', '{"nothing": 1}'),
        (gen_random_uuid(), 'job', 'shop.mail', 2, 'c', '{"to": "fine"}')`);
    await expect
      .poll(() => app.taskCounts(), { timeout: 10_000 })
      .toMatchObject({ ready: 0, running: 0, parked: 2 });
    expect(await app.database.query(sql`select recipient from shop.mail`)).toEqual([{ recipient: 'FINE' }]);
  });
});

test('two apps in one process do not touch each other', async () => {
  const other = await createTestDatabase(inject('cluster'));
  const second = createApp(thePlan, { databaseUrl: other.url, listen: false });
  try {
    await second.start();
    script = {
      order: (_input: unknown, { emit }: OrderContext) => {
        emit(shop.ordered, { sku: 'second', at: '' });
        return { id: 2 };
      },
    };
    const before = (await app.telemetry())['plimsoll.operation.duration'].find(
      ({ operation }) => operation === 'shop.order',
    )?.count;
    await second.call(shop.order, { sku: 'x' });
    await untilIdle(second);
    expect(await second.database.query(sql`select sku from shop.seen`)).toEqual([{ sku: 'second' }]);
    expect(await app.database.query(sql`select sku from shop.seen`)).toEqual([]);
    expect(
      (await app.telemetry())['plimsoll.operation.duration'].find(
        ({ operation }) => operation === 'shop.order',
      )?.count,
    ).toBe(before);
    expect((await second.telemetry())['plimsoll.operation.duration']).toContainEqual(
      expect.objectContaining({ operation: 'shop.order', count: 1 }),
    );
  } finally {
    await second.stop();
    await other.drop();
  }
});
