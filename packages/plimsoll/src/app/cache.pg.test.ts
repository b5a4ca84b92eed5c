import { setImmediate } from 'node:timers/promises';
import { startCluster, type Cluster, type Replica, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { recordInvalidation } from '../cache/invalidation-rows.ts';
import { createDatabase, type Database } from '../database/database.ts';
import {
  cached,
  command,
  contract,
  createApp,
  createContext,
  module,
  plan,
  query,
  runInContext,
  sql,
  type App,
  type CachePlan,
  type Caller,
} from '../index.ts';
import { background } from '../kernel/channels.ts';
import { Seen } from '../kernel/seen.ts';

const bySku = z.object({ sku: z.string() });
// #region contract
const stock = contract('stock', {
  // What changes the answer is known to the module: the commands that do so invalidate it.
  level: query({ input: bySku, output: z.number(), tags: ({ sku }) => [`stock:${sku}`] }),
  receive: command({ input: bySku.extend({ count: z.number() }) }),
  // #endregion
  forget: command({ input: bySku.extend({ count: z.number() }) }),
  audit: command({ input: bySku }),
  fail: command({ input: bySku, errors: { Refused: z.object({}) } }),
  mine: query({ input: bySku, output: z.string() }),
});
const page = contract('page', {
  show: query({ input: bySku, output: z.object({ level: z.number() }) }),
  decide: command({ input: bySku, output: z.number() }),
});

/** How often the handlers ran. */
const runs = { level: 0, mine: 0 };
const setLevel = (sku: string, count: number) =>
  sql`insert into stock.level values (${sku}, ${count}) on conflict (sku) do update set count = excluded.count`;
const stockModule = module(stock, {
  owns: { schema: 'stock', migrations: new URL('./fixtures/stock-migrations/', import.meta.url) },
  commands: {
    // #region invalidate
    async receive({ sku, count }, { tx, invalidate }) {
      await tx.execute(setLevel(sku, count));
      invalidate(`stock:${sku}`);
    },
    // #endregion
    forget: async ({ sku, count }, { tx }) => void (await tx.execute(setLevel(sku, count))),
    audit: async ({ sku }, { tx }) =>
      void (await tx.execute(sql`update stock.level set seen = true where sku = ${sku}`)),
    async fail({ sku }, { tx, invalidate, fail }) {
      await tx.execute(setLevel(sku, -1));
      invalidate(`stock:${sku}`);
      return fail('Refused', {});
    },
  },
  queries: {
    async level({ sku }, { db }) {
      runs.level += 1;
      const row = await db.maybeOne<{ count: number }>(sql`select count from stock.level where sku = ${sku}`);
      return row?.count ?? 0;
    },
    async mine({ sku }, { caller }) {
      runs.mine += 1;
      return `${sku} of ${caller.tenant}`;
    },
  },
});
const pageModule = module(page, {
  owns: { schema: 'page' },
  uses: [stock],
  queries: {
    show: async (input, { call }) => ({ level: await call(stock.level, input) }),
  },
  commands: {
    decide: (input, { call }) => call(stock.level, input),
  },
});

// #region policies
const policies: CachePlan = {
  queries: [
    cached(stock.level, { ttlMs: 60_000, unaffectedBy: [stock.audit] }),
    cached(page.show, { ttlMs: 60_000, tags: ({ sku }) => [`stock:${sku}`], unaffectedBy: [stock.audit] }),
    cached(stock.mine, { ttlMs: 60_000, tags: () => ['mine'], by: ['tenant'] }),
  ],
};
// #endregion

let cluster: Cluster;
let replica: Replica;
let server: TestDatabase;
let admin: Database;
const apps: App[] = [];
let skus = 0;
let sku: string;

async function start(cache: CachePlan = policies, withReplica = false): Promise<App> {
  const app = createApp(
    plan({
      name: 'kept',
      modules: [stockModule, pageModule],
      http: { port: 0 },
      cache,
      // Other tests run beside: a replica that is paused stays in use, and an answer may take its time.
      database: { routing: { pollTimeoutMs: 2_000, lagBudgetMs: 600_000 } },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 100, errorRate: 0 } },
    }),
    {
      databaseUrl: server.url,
      replicaUrls: withReplica ? [server.replicaUrls[0] as string] : [],
      listen: false,
    },
  );
  apps.push(app);
  await app.start();
  return app;
}
/** As a client that comes with what it has seen, and as somebody. */
const as = <T>(given: { seen?: Seen; caller?: Caller }, run: () => Promise<T>): Promise<T> =>
  runInContext(createContext(given), run);

beforeAll(async () => {
  cluster = await startCluster({ replicas: 1 });
  [replica] = cluster.replicas as [Replica];
  server = await cluster.createDatabase();
  admin = createDatabase({ url: server.url });
}, 60_000);
beforeEach(() => {
  runs.level = 0;
  runs.mine = 0;
  sku = `sku-${(skus += 1)}`;
});
afterEach(async () => {
  for (const app of apps.splice(0)) await app.stop();
});
afterAll(async () => {
  await admin?.close();
  await server?.drop();
  await cluster?.stop();
});

describe('a cached query', () => {
  test('is answered from what is kept until a command invalidates it', async () => {
    const app = await start();
    await app.call(stock.receive, { sku, count: 3 });
    expect(await app.call(stock.level, { sku })).toBe(3);
    expect(await app.call(stock.level, { sku })).toBe(3);
    expect(runs.level).toBe(1);
    await app.call(stock.receive, { sku, count: 4 });
    expect(await app.call(stock.level, { sku })).toBe(4);
    expect(await app.call(page.show, { sku })).toEqual({ level: 4 });
    await app.call(stock.receive, { sku, count: 5 });
    expect(await app.call(page.show, { sku })).toEqual({ level: 5 });
    const { cache } = await app.telemetry();
    expect(cache).toMatchObject({ name: 'kept', trusted: true, missed: [], shared: { health: 'up' } });
  });

  test('is invalidated in the other processes too', async () => {
    const [here, there] = [await start(), await start()];
    await here.call(stock.receive, { sku, count: 1 });
    expect(await there.call(stock.level, { sku })).toBe(1);
    await here.call(stock.receive, { sku, count: 2 });
    await vi.waitFor(async () => expect(await there.call(stock.level, { sku })).toBe(2), { timeout: 10_000 });
  });

  test('shows a client its own write in every process at once, by its token', async () => {
    const [here, there] = [await start(), await start()];
    await here.call(stock.receive, { sku, count: 0 });
    for (let count = 1; count <= 20; count += 1) {
      await there.call(stock.level, { sku });
      const seen = new Seen();
      await as({ seen }, () => here.call(stock.receive, { sku, count }));
      expect(seen.touchedTags(here.database.name).map(({ tag }) => tag)).toEqual([`stock:${sku}`]);
      expect(await as({ seen }, () => there.call(stock.level, { sku }))).toBe(count);
    }
  });

  test('never goes back for a client that is served by one process and then by another', async () => {
    const [here, there] = [await start(), await start()];
    await here.call(stock.receive, { sku, count: 0 });
    for (let count = 1; count <= 20; count += 1) {
      await there.call(stock.level, { sku });
      // Somebody else's write, which `there` hears of a moment later.
      const told = as({}, () => here.call(stock.receive, { sku, count }));
      const seen = new Seen();
      let shown: number;
      do {
        await setImmediate();
        shown = await as({ seen }, () => here.call(stock.level, { sku }));
      } while (shown < count);
      expect(await as({ seen }, () => there.call(stock.level, { sku }))).toBe(count);
      await told;
    }
  });

  test('never goes back for a client who reads past it in one process and then asks another one', async () => {
    const here = await start();
    const there = await start();
    // Neither keeps it yet: what it is asked for comes from the shared tier.
    const late = await start();
    for (let count = 1; count <= 5; count += 1) {
      await as({}, () => here.call(stock.level, { sku }));
      await as({}, () => there.call(stock.level, { sku }));
      // Its writer dies before he tells anybody.
      await admin.transaction(async (tx) => {
        await tx.execute(setLevel(sku, count));
        await recordInvalidation(tx, 'kept', { tags: [`stock:${sku}`] });
      });
      const seen = new Seen();
      const past = here.database.readOnly(
        (db) => db.one<{ count: number }>(sql`select count from stock.level where sku = ${sku}`),
        { seen },
      );
      expect(await past).toEqual({ count });
      // As when the token goes to another process; who stays in the request still owes the position.
      if (count % 2 === 1) await here.database.settle(seen);
      const told = await as({ seen }, () => (count === 1 ? late : there).call(stock.level, { sku }));
      expect(told).toBe(count);
    }
    const { cache } = await there.telemetry();
    expect(cache?.refreshes).toBeGreaterThan(0);
  });

  test('asks nobody for those who have seen nothing past what was asked', async () => {
    const app = await start();
    await app.call(stock.receive, { sku, count: 1 });
    await as({}, () => app.call(stock.level, { sku }));
    const refreshes = async (): Promise<number | undefined> => (await app.telemetry()).cache?.refreshes;
    const before = (await refreshes()) ?? NaN;
    await as({}, () => app.call(stock.level, { sku }));
    expect(await refreshes()).toBe(before);
    const seen = new Seen();
    await app.database.readOnly((db) => db.one(sql`select 1 as one`), { seen });
    await app.database.settle(seen);
    await vi.waitFor(
      async () => {
        expect(await as({ seen }, () => app.call(stock.level, { sku }))).toBe(1);
        const now = await refreshes();
        await as({ seen }, () => app.call(stock.level, { sku }));
        expect(await refreshes()).toBe(now);
      },
      { timeout: 10_000 },
    );
    expect(await refreshes()).toBeGreaterThan(before);
  });

  test('has shown something, so that a replica that is behind serves its reader nothing older', async () => {
    const app = await start(policies, true);
    await app.call(stock.receive, { sku, count: 1 });
    await replica.pause();
    try {
      await app.call(stock.receive, { sku, count: 2 });
      await as({}, () => app.call(stock.level, { sku }));
      const seen = new Seen();
      expect(await as({ seen }, () => app.call(stock.level, { sku }))).toBe(2);
      expect(runs.level).toBe(1);
      const past = app.database.readOnly(
        (db) => db.one<{ count: number }>(sql`select count from stock.level where sku = ${sku}`),
        { seen },
      );
      expect(await past).toEqual({ count: 2 });
    } finally {
      await replica.resume();
    }
  });

  test('is not filled again from a replica that has not replayed the invalidation', async () => {
    const app = await start(policies, true);
    await app.call(stock.receive, { sku, count: 1 });
    await replica.pause();
    try {
      await app.call(stock.receive, { sku, count: 2 });
      // Nobody's token: only the invalidation says what must have been read.
      expect(await as({}, () => app.call(stock.level, { sku }))).toBe(2);
      expect(await as({}, () => app.call(stock.level, { sku }))).toBe(2);
    } finally {
      await replica.resume();
    }
  });

  test('is neither asked nor filled by a command, whose decisions rest on what is there now', async () => {
    const app = await start();
    await app.call(stock.receive, { sku, count: 1 });
    await app.call(stock.level, { sku });
    // Past every invalidation, as another program would.
    await admin.execute(setLevel(sku, 9));
    expect(await app.call(page.decide, { sku })).toBe(9);
    expect(await app.call(stock.level, { sku })).toBe(1);
  });

  test('keeps what a failed command has said', async () => {
    const app = await start();
    await app.call(stock.receive, { sku, count: 1 });
    await app.call(stock.level, { sku });
    // Nothing was invalidated: what is kept is asked for once more.
    expect(await app.call(stock.fail, { sku })).toMatchObject({ ok: false, error: 'Refused' });
    expect(await app.call(stock.level, { sku })).toBe(1);
    expect(runs.level).toBe(1);
  });

  test('ends also when its writer died between its commit and the invalidation', async () => {
    const app = await start();
    await app.call(stock.receive, { sku, count: 1 });
    await app.call(stock.level, { sku });
    await admin.transaction(async (tx) => {
      await tx.execute(setLevel(sku, 7));
      await tx.execute(
        sql`insert into plimsoll.invalidation (cache, tags, keys) values ('kept', array[${`stock:${sku}`}], '{}')`,
      );
    });
    await vi.waitFor(async () => expect(await app.call(stock.level, { sku })).toBe(7), { timeout: 10_000 });
    await vi.waitFor(
      async () => expect(await admin.query(sql`select 1 from plimsoll.invalidation`)).toEqual([]),
      {
        timeout: 10_000,
      },
    );
  });

  test('has values for each of what its policy names of the caller, and throws for the rest', async () => {
    const app = await start({ queries: policies.queries.slice(2) });
    const of = (tenant: string): Promise<string> =>
      as({ caller: { tenant, principal: 'p' } }, () => app.call(stock.mine, { sku }));
    expect(await of('a')).toBe(`${sku} of a`);
    expect(await of('b')).toBe(`${sku} of b`);
    expect(await of('a')).toBe(`${sku} of a`);
    expect(runs.mine).toBe(2);
    const careless = await start({
      queries: [cached(stock.mine, { ttlMs: 60_000, tags: () => ['careless'] })],
    });
    await expect(
      as({ caller: { tenant: 'a' } }, () => careless.call(stock.mine, { sku })),
    ).rejects.toMatchObject({ code: 'PL_CACHE_CALLER', data: { part: 'tenant' } });
  });
});

describe('a write that should have invalidated', () => {
  test('is refused when the query was read before', async () => {
    const app = await start();
    await app.call(stock.level, { sku });
    await expect(app.call(stock.forget, { sku, count: 1 })).rejects.toMatchObject({
      code: 'PL_MISSED_INVALIDATION',
      data: { query: 'stock.level', writer: 'stock.forget', table: 'stock.level' },
    });
    // Rolled back, so that nothing is kept that is wrong.
    expect(await admin.query(sql`select 1 from stock.level where sku = ${sku}`)).toEqual([]);
    await app.call(stock.receive, { sku, count: 1 });
    await app.call(stock.audit, { sku });
  });

  test('is refused to the query when the write came first, and through a query that asks another one', async () => {
    const app = await start();
    await app.call(stock.forget, { sku, count: 1 });
    await expect(app.call(stock.level, { sku })).rejects.toMatchObject({ code: 'PL_MISSED_INVALIDATION' });
    const outer = await start({ queries: [cached(page.show, { ttlMs: 60_000, tags: () => ['page'] })] });
    await outer.call(page.show, { sku });
    await expect(outer.call(stock.receive, { sku, count: 1 })).rejects.toMatchObject({
      code: 'PL_MISSED_INVALIDATION',
      data: { query: 'page.show', writer: 'stock.receive' },
    });
  });

  test('is told where the plan says so, once, and not where the time is enough', async () => {
    const told: unknown[] = [];
    const unsubscribe = background.subscribe(({ error }) => void told.push(error));
    try {
      const app = await start({ ...policies, missed: 'report' });
      await app.call(stock.level, { sku });
      await app.call(stock.forget, { sku, count: 1 });
      await app.call(stock.forget, { sku, count: 2 });
      const found = told.filter((error) => (error as { code?: unknown }).code === 'PL_MISSED_INVALIDATION');
      expect(found).toHaveLength(1);
      expect((await app.telemetry()).cache?.missed).toEqual([
        { query: 'stock.level', writer: 'stock.forget', table: 'stock.level', tags: ['stock'] },
      ]);
      const timed = await start({ queries: [cached(stock.level, { ttlMs: 60_000, untilTtl: true })] });
      await timed.call(stock.level, { sku });
      await timed.call(stock.forget, { sku, count: 3 });
    } finally {
      unsubscribe();
    }
  });
});
