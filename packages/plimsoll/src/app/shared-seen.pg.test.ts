import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import { startCluster, type Cluster, type Replica, type TestDatabase } from '@plimsoll/embedded';
import express from 'express';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { mountRoutes, plimsollContext } from '../express/index.ts';
import { postgresSeenStore, type SeenStore } from '../gateway/index.ts';
import { command, contract, createApp, module, plan, query, route, sql, type App } from '../index.ts';
import { background, seenStores, type SeenStoreMessage } from '../kernel/channels.ts';
import { Seen } from '../kernel/seen.ts';
import { migrationsOf } from './migrations.ts';

const counters = contract('counters', {
  bump: command({ input: z.object({ name: z.string() }), output: z.number() }),
  current: query({ input: z.object({ name: z.string() }), output: z.number() }),
  logIn: command({ input: z.object({ user: z.string() }), output: z.object({ principal: z.string() }) }),
});
const bump = (name: string): ReturnType<typeof sql> => sql`
  insert into counters.counter (name, value) values (${name}, 1)
  on conflict (name) do update set value = counter.value + 1 returning value`;
const current = (name: string): ReturnType<typeof sql> =>
  sql`select value from counters.counter where name = ${name}`;
const countersModule = module(counters, {
  owns: { schema: 'counters' },
  commands: {
    bump: async ({ name }, { tx }) => (await tx.one<{ value: number }>(bump(name))).value,
    async logIn({ user }, { tx }) {
      await tx.one(bump(user));
      return { principal: user };
    },
  },
  queries: {
    current: async ({ name }, { db }) => (await db.maybeOne<{ value: number }>(current(name)))?.value ?? 0,
  },
});
const routes = [
  route('/counters/:name/bump', counters.bump),
  route('/counters/:name', counters.current),
  route('/login', counters.logIn, { session: 'begin' }),
];

let cluster: Cluster;
let replica: Replica;
let server: TestDatabase;
let pool: pg.Pool;
const apps: App[] = [];
const sites: Server[] = [];
let lastName = 0;
const nextName = (): string => `counter-${(lastName += 1)}`;

beforeAll(async () => {
  cluster = await startCluster({ replicas: 1 });
  [replica] = cluster.replicas as [Replica];
  server = await cluster.createDatabase();
  await using admin = createDatabase({ url: server.url });
  await migrate(admin, migrationsOf({ modules: [countersModule] }));
  await admin.execute(sql`create schema counters`);
  await admin.execute(sql`create table counters.counter (name text primary key, value int not null)`);
  pool = new pg.Pool({ connectionString: server.url, max: 4 });
}, 60_000);
beforeEach(() => replica.caughtUp());
afterEach(async () => {
  await replica.resume();
  await replica.lag(0);
  for (const site of sites.splice(0)) {
    site.closeAllConnections();
    await new Promise((resolve) => site.close(resolve));
  }
  await Promise.all(apps.splice(0).map((app) => app.stop()));
});
afterAll(async () => {
  await pool?.end();
  await cluster?.stop();
});

interface Wishes {
  readonly store?: SeenStore;
  readonly listen?: boolean;
  readonly storeTimeoutMs?: number;
}

/** A process of an app; who asks stands in a header. */
async function start({ store, listen = true, storeTimeoutMs = 5_000 }: Wishes): Promise<App> {
  const app = createApp(
    plan({
      name: 'counters',
      modules: [countersModule],
      http: {
        port: 0,
        routes,
        sessions: { secret: 'a secret of at least thirty-two characters' },
        authenticate: ({ headers }) => {
          const { 'x-user': principal } = headers;
          return Promise.resolve(typeof principal === 'string' ? { principal } : undefined);
        },
        seen: store === undefined ? {} : { store, storeTimeoutMs },
      },
      // Watched by many other programs here, and a replica that is late must stay in use.
      database: { routing: { pollTimeoutMs: 2_000, lagBudgetMs: 600_000, waitMs: 5 } },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
    }),
    { databaseUrl: server.url, replicaUrls: server.replicaUrls, listen },
  );
  apps.push(app);
  await app.start();
  await expect
    .poll(
      () =>
        app.database.readOnly((db) => db.one(sql`select pg_is_in_recovery() as standby`), {
          seen: new Seen(),
        }),
      { timeout: 20_000 },
    )
    .toEqual({ standby: true });
  return app;
}

const as = (user: string): Record<string, string> => ({ 'x-user': user, 'content-type': 'application/json' });
const post = (url: string, path: string, headers: Record<string, string>, body = {}): Promise<Response> =>
  fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
const bumpAt = (url: string, name: string, user: string): Promise<Response> =>
  post(url, `/counters/${name}/bump`, as(user));
const readAt = async (url: string, name: string, headers: Record<string, string>): Promise<number> =>
  Number(await (await fetch(`${url}/counters/${name}`, { headers })).json());

async function toldBy(run: () => Promise<unknown>): Promise<SeenStoreMessage[]> {
  const told: SeenStoreMessage[] = [];
  const stop = seenStores.subscribe((message) => told.push(message));
  try {
    await run();
  } finally {
    stop();
  }
  return told;
}

describe('two tabs of one user, neither of which sends anything', () => {
  test('share what they have written, in two processes, and with nobody else', async () => {
    const store = postgresSeenStore(pool);
    const [one, two] = await Promise.all([start({ store }), start({ store })]);
    await replica.pause();
    const name = nextName();
    const written = await bumpAt(one.url, name, 'ada');
    expect([written.status, written.headers.get('plimsoll-seen')]).toEqual([200, null]);
    expect(written.headers.get('cache-control')).toBe('private, no-cache');
    expect(await readAt(two.url, name, as('ada'))).toBe(1);
    expect(await readAt(two.url, name, as('grace'))).toBe(0);
    expect(await readAt(two.url, name, {})).toBe(0);
  });

  /** Reads that showed less than an answer that was there before they were sent. */
  async function violationsOf(store: SeenStore | undefined): Promise<number> {
    const processes = await Promise.all([1, 2].map(() => start(store === undefined ? {} : { store })));
    const name = nextName();
    const user = `user-of-${name}`;
    let known = 0;
    let violations = 0;
    const tab = async (): Promise<void> => {
      for (let step = 0; step < 60; step += 1) {
        const { url } = processes[Math.floor(Math.random() * processes.length)]!;
        const least = known;
        const writes = Math.random() < 0.3;
        const value = writes
          ? Number(await (await bumpAt(url, name, user)).json())
          : await readAt(url, name, as(user));
        if (value < least) violations += 1;
        known = Math.max(known, value);
      }
    };
    await replica.lag(40);
    await Promise.all([tab(), tab()]);
    return violations;
  }

  test('never see less than either has seen before, however their requests interleave', async () => {
    expect(await violationsOf(postgresSeenStore(pool))).toBe(0);
    // The control: without the store the same two do.
    expect(await violationsOf(undefined)).toBeGreaterThan(0);
  });

  test('ask the store once when nothing is added, and twice when something is', async () => {
    const app = await start({ store: postgresSeenStore(pool) });
    const name = nextName();
    const calls = async (run: () => Promise<unknown>): Promise<string[]> =>
      (await toldBy(run)).map(({ call, outcome }) => `${call} ${outcome}`);
    expect(await calls(() => bumpAt(app.url, name, 'ada'))).toEqual(['read ok', 'merge ok']);
    await replica.caughtUp();
    // Until nothing is written any more that a read could be the first to show.
    await expect
      .poll(() => calls(() => readAt(app.url, name, as('ada'))), { timeout: 20_000 })
      .toEqual(['read ok']);
    expect(await calls(() => readAt(app.url, name, {}))).toEqual([]);
  });

  test('what a login writes is seen by the first request of its session', async () => {
    const store = postgresSeenStore(pool);
    const [one, two] = await Promise.all([start({ store }), start({ store })]);
    await replica.pause();
    const user = nextName();
    const json = { 'content-type': 'application/json' };
    const answer = await post(one.url, '/login', json, { user });
    const cookie = answer.headers.getSetCookie()[0]?.split(';')[0] ?? '';
    expect(await readAt(two.url, user, { cookie })).toBe(1);
    expect(await readAt(two.url, user, {})).toBe(0);
  });
});

describe('a store that is not there', () => {
  const never = (): Promise<never> => new Promise(() => undefined);
  const down = (): Promise<never> => Promise.reject(new Error('down'));

  test.each<[string, SeenStore, number]>([
    ['hangs', { read: never, merge: never }, 20],
    ['is down', { read: down, merge: down }, 5_000],
    [
      'throws',
      {
        read: () => {
          throw new Error('not connected');
        },
        merge: down,
      },
      5_000,
    ],
  ])(
    'that %s fails no request: it reads the primary, and gets a token',
    async (_what, store, storeTimeoutMs) => {
      const app = await start({ store, storeTimeoutMs });
      const away: unknown[] = [];
      const stop = background.subscribe(({ what }) => void away.push(what));
      await replica.pause();
      const name = nextName();
      const told = await toldBy(async () => {
        const written = await bumpAt(app.url, name, 'ada');
        expect([written.status, written.headers.get('plimsoll-seen')]).toEqual([200, expect.any(String)]);
        for (let read = 0; read < 6; read += 1) expect(await readAt(app.url, name, as('ada'))).toBe(1);
      });
      stop();
      expect(app.database.routing().primaryReasons.unknown).toBe(6);
      expect(new Set(told.map(({ outcome }) => outcome))).toEqual(new Set(['failed', 'skipped']));
      expect(away.filter((what) => what === 'the store of what clients have seen: away')).toHaveLength(1);
    },
  );

  test('is found again when it comes back', async () => {
    let isDown = true;
    const kept = postgresSeenStore(pool);
    const store: SeenStore = {
      read: (id) => (isDown ? down() : kept.read(id)),
      merge: (...given) => (isDown ? down() : kept.merge(...given)),
    };
    const [one, two] = await Promise.all([start({ store }), start({ store })]);
    const name = nextName();
    for (let read = 0; read < 4; read += 1) await readAt(two.url, name, as('ada'));
    isDown = false;
    await replica.pause();
    await bumpAt(one.url, name, 'ada');
    await expect
      .poll(async () => {
        const before = two.database.routing().primaryReasons.unknown ?? 0;
        expect(await readAt(two.url, name, as('ada'))).toBe(1);
        return (two.database.routing().primaryReasons.unknown ?? 0) - before;
      })
      .toBe(0);
  });
});

describe('on Express', () => {
  async function serve(app: App, store: SeenStore): Promise<string> {
    const site = express();
    // #region express
    const context = plimsollContext({
      app,
      seen: { store, storeTimeoutMs: 5_000 },
      caller: (request) => (request as { user?: { principal: string } }).user,
    });
    site.use(context); // first: the deadline counts from here
    site.use((request, _response, next) => {
      // Your authentication.
      const principal = request.get('x-user');
      if (principal !== undefined) Object.assign(request, { user: { principal } });
      next();
    });
    site.use(context); // again: now it is known whose request it is
    // #endregion
    site.post('/own/:name', async (request, response) => {
      const row = await app.database.transaction((tx) => tx.one(bump(request.params.name)));
      response.json(row['value']);
    });
    site.get('/own/:name', async (request, response) => {
      const row = await app.database.readOnly((db) => db.maybeOne(current(request.params.name)));
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(row?.['value'] ?? 0));
    });
    const [bumping, reading] = routes;
    mountRoutes(app, site, { routes: [bumping!, reading!] });
    const listening = site.listen(0, '127.0.0.1');
    sites.push(listening);
    await new Promise((resolve) => listening.once('listening', resolve));
    return `http://127.0.0.1:${(listening.address() as AddressInfo).port}`;
  }

  test('own routes and mounted ones share what their user has seen, across processes', async () => {
    const store = postgresSeenStore(pool);
    const urls = await Promise.all([1, 2].map(async () => serve(await start({ listen: false }), store)));
    await replica.pause();
    const [one = '', two = ''] = urls;
    const name = nextName();
    const own = await post(one, `/own/${name}`, as('ada'));
    expect([await own.json(), own.headers.get('cache-control')]).toEqual([1, 'private, no-cache']);
    expect(await (await fetch(`${two}/own/${name}`, { headers: as('ada') })).json()).toBe(1);
    expect(await readAt(two, name, as('ada'))).toBe(1);
    expect(await (await bumpAt(two, name, 'ada')).json()).toBe(2);
    expect(await (await fetch(`${one}/own/${name}`, { headers: as('ada') })).json()).toBe(2);
    expect(await (await fetch(`${one}/own/${name}`, { headers: as('grace') })).json()).toBe(0);
  });
});
