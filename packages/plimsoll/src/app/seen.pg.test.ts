import { startCluster, type Cluster, type Replica, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createClient } from '../client/client.ts';
import { migrate } from '../database/migrate.ts';
import { createDatabase } from '../database/database.ts';
import { command, contract, createApp, event, module, plan, query, route, sql, type App } from '../index.ts';
import { createHttpClient } from '../http-client/http-client.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { trustedSql } from '../database/sql.ts';
import { seenTokens } from '../kernel/seen-token.ts';
import { Seen } from '../kernel/seen.ts';
import { untilIdle } from '../testing/until-idle.ts';
import { migrationsOf } from './migrations.ts';

const aNote = z.object({ id: z.coerce.number().int() });
const notes = contract('notes', {
  write: command({ input: aNote }),
  announce: command({ input: aNote }),
  look: command({ input: aNote }),
  announced: event({ payload: aNote }),
  find: query({ input: aNote, output: z.boolean() }),
});
/** What jobs and subscriptions have read from wherever `readOnly` has led them. */
let looked: { readonly where: string; readonly id: number; readonly found: boolean }[] = [];
async function look(where: string, id: number): Promise<void> {
  const [app] = apps;
  const row = await app?.database.readOnly((db) =>
    db.maybeOne(sql`select 1 from notes.note where id = ${id}`),
  );
  looked.push({ where, id, found: row !== undefined });
}
const notesModule = module(notes, {
  owns: { schema: 'notes' },
  commands: {
    write: async ({ id }, { tx }) => void (await tx.execute(sql`insert into notes.note values (${id})`)),
    async announce({ id }, { tx, emit, enqueue }) {
      await tx.execute(sql`insert into notes.note values (${id})`);
      enqueue(notes.look, { id });
      emit(notes.announced, { id });
    },
    look: ({ id }) => look('job', id),
  },
  queries: {
    find: async ({ id }, { db }) =>
      (await db.maybeOne(sql`select 1 from notes.note where id = ${id}`)) !== undefined,
  },
  on: (on) => [on(notes.announced, { name: 'hear' }, ({ id }) => look('subscription', id))],
});
const secret = 'a secret of at least thirty-two characters';
const routes = [route('/notes', notes.write), route('/notes/:id', notes.find)];
// #region plan
// One secret for all processes that clients may reach. To change it, put the new one first: [next, secret].
const http = { port: 0, routes, seen: { secret, cookie: true } };
// #endregion
const notesPlan = plan({
  name: 'notes',
  modules: [notesModule],
  http,
  // Watched by many other programs here, and a replica that is paused must stay in use.
  database: { routing: { pollTimeoutMs: 2_000, lagBudgetMs: 600_000, waitMs: 200 } },
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 100, errorRate: 0 } },
});
const plainPlan = plan({ ...notesPlan, http: { port: 0, routes } });

let cluster: Cluster;
let replica: Replica;
let server: TestDatabase;
const apps: App[] = [];
let lastId = 0;
const nextId = (): number => (lastId += 1);

beforeAll(async () => {
  cluster = await startCluster({ replicas: 1 });
  [replica] = cluster.replicas as [Replica];
  server = await cluster.createDatabase();
  await using admin = createDatabase({ url: server.url });
  await migrate(admin, migrationsOf(notesPlan));
  await admin.execute(sql`create schema notes`);
  await admin.execute(sql`create table notes.note (id int primary key)`);
}, 60_000);
afterEach(async () => {
  await replica.resume();
  await Promise.all(apps.splice(0).map((app) => app.stop()));
});
afterAll(() => cluster?.stop());

/** Two processes of one app, to which a load balancer sends a client by turns. */
async function startTwo(of = notesPlan): Promise<[App, App]> {
  const both = [1, 2].map(() =>
    createApp(of, { databaseUrl: server.url, replicaUrls: server.replicaUrls }),
  ) as [App, App];
  for (const app of both) {
    apps.push(app);
    await app.start();
    await serving(app);
  }
  return both;
}

/** Until the replica takes reads, so that none goes to the primary for another reason. */
async function serving({ database }: App): Promise<void> {
  await replica.caughtUp();
  await expect
    .poll(
      () =>
        database.readOnly((db) => db.one(sql`select pg_is_in_recovery() as standby`), { seen: new Seen() }),
      { timeout: 20_000 },
    )
    .toEqual({ standby: true });
}

const write = (app: App, id: number): Promise<Response> =>
  fetch(`${app.url}/notes`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ id }),
  });
const find = (app: App, id: number, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${app.url}/notes/${id}`, { headers });
const tokenOf = (answer: Response): Record<string, string> => ({
  'plimsoll-seen': answer.headers.get('plimsoll-seen') ?? '',
});
const cookieOf = (answer: Response): Record<string, string> => ({
  cookie: answer.headers.getSetCookie()[0]?.split(';')[0] ?? '',
});

describe('a client that writes in one process and reads in another', () => {
  test.each([
    ['header', tokenOf],
    ['cookie', cookieOf],
  ])('sees its write with the token of its %s, and does not without', async (_what, carried) => {
    const [one, two] = await startTwo();
    await replica.pause();
    const id = nextId();
    const written = await write(one, id);
    expect(written.status).toBe(204);
    expect(await (await find(two, id)).json(), JSON.stringify(two.database.routing())).toBe(false);
    const found = await find(two, id, carried(written));
    expect(await found.json()).toBe(true);
    // Nor does it go back in time afterwards, with the token of that answer.
    expect(await (await find(one, id, carried(found))).json()).toBe(true);
  });

  test('sees all of it with `plimsoll/client`, and without its token does not', async () => {
    const [one, two] = await startTwo();
    await replica.pause();
    for (const seen of [true, false]) {
      let asked = 0;
      const client = createClient({
        baseUrl: one.url,
        routes,
        seen,
        // As a load balancer does it.
        fetch: (url, init) => fetch(url.replace(one.url, (asked++ % 2 === 0 ? one : two).url), init),
      });
      const id = nextId();
      await client.call(notes.write, { id });
      expect(await client.call(notes.find, { id })).toBe(seen);
      expect(await client.call(notes.find, { id })).toBe(seen);
    }
  });

  test('sees what it has read in one process in the other, too', async () => {
    const [one, two] = await startTwo();
    await replica.pause();
    const id = nextId();
    const written = await write(one, id);
    const read = await find(one, id, tokenOf(written));
    const seen = seenTokens(secret).read(tokenOf(read)['plimsoll-seen'] ?? '');
    const { epoch = '', read: position = 0n } = seen?.mark(one.database.name) ?? {};
    const onlyRead = new Seen();
    onlyRead.noteRead(one.database.name, epoch, position);
    const token = seenTokens(secret).write(onlyRead) ?? '';
    expect(await (await find(two, id, { 'plimsoll-seen': token })).json()).toBe(true);
  });
});

describe('a token that somebody has made up', () => {
  const made = (epoch: string, written: bigint, name: string): Record<string, string> => {
    const seen = new Seen();
    seen.noteWritten(name, epoch, written);
    return { 'plimsoll-seen': seenTokens().write(seen) ?? '' };
  };

  const onReplicas = ({ database }: App): number => {
    const { reads, offload } = database.routing();
    return Math.round(reads * offload);
  };

  test('costs reads of the primary, and none once the replicas have what there is', async () => {
    const [app] = await startTwo(plainPlan);
    const id = nextId();
    const honest = seenTokens().read(tokenOf(await write(app, id))['plimsoll-seen'] ?? '');
    const { name } = app.database;
    const { epoch = '' } = honest?.mark(name) ?? {};
    await replica.caughtUp();
    const forged = made(epoch, 2n ** 63n, name);
    await expect
      .poll(async () => {
        const before = onReplicas(app);
        expect(await (await find(app, id, forged)).json()).toBe(true);
        return onReplicas(app) - before;
      })
      .toBe(1);
    const { primaryReasons } = app.database.routing();
    const other = await find(app, id, made('999.forged', 1n, name));
    expect([other.status, await other.json()]).toEqual([200, true]);
    expect(app.database.routing().primaryReasons.epoch ?? 0).toBeGreaterThan(primaryReasons.epoch ?? 0);
  });

  test('counts for nothing where there is a secret', async () => {
    const [app] = await startTwo();
    const id = nextId();
    const { epoch = '' } =
      seenTokens(secret)
        .read(tokenOf(await write(app, id))['plimsoll-seen'] ?? '')
        ?.mark(app.database.name) ?? {};
    await replica.caughtUp();
    const answer = await find(app, id, made(epoch, 2n ** 63n, app.database.name));
    const seen = seenTokens(secret).read(tokenOf(answer)['plimsoll-seen'] ?? '');
    expect(seen?.mark(app.database.name)?.written ?? 0n).toBe(0n);
  });
});

describe('a token that leaves before everything is known', () => {
  test('goes to another server with the position of a statement outside a transaction', async () => {
    const [one, two] = await startTwo();
    await replica.pause();
    const id = nextId();
    await using client = createHttpClient({ name: 'two', origin: two.url, seen: { secret } });
    const before = two.database.routing().primaryReasons;
    const context = createContext();
    const answer = await runInContext(context, async () => {
      await one.database.execute(sql`insert into notes.note values (${id})`);
      expect(context.seen.owes).toBe(true);
      return client.request('GET', '/notes/:id', { params: { id: String(id) } });
    });
    expect(answer.json()).toBe(true);
    // By its position; without one the primary would have to be asked until the caller commits again.
    const { unknown = 0, token = 0 } = two.database.routing().primaryReasons;
    expect([unknown, token]).toEqual([before.unknown ?? 0, (before.token ?? 0) + 1]);
  });

  test('goes to another server with the position of a read on a primary without replicas', async () => {
    const [, two] = await startTwo();
    await using alone = createDatabase({ url: server.url });
    await using client = createHttpClient({ name: 'two', origin: two.url, seen: { secret } });
    await replica.pause();
    const id = nextId();
    await alone.transaction((tx) => tx.execute(sql`insert into notes.note values (${id})`));
    const answer = await runInContext(createContext(), async () => {
      await alone.readOnly((db) => db.one(sql`select 1 from notes.note where id = ${id}`));
      return client.request('GET', '/notes/:id', { params: { id: String(id) } });
    });
    expect(answer.json()).toBe(true);
  });

  test('says that the outcome is unknown when the time was up during the commit', async () => {
    const [app] = await startTwo();
    const standbyNames = async (names: string): Promise<void> => {
      // ALTER SYSTEM runs in no transaction, and takes no parameter.
      const text = `alter system set synchronous_standby_names = '${names}'`;
      await app.database.execute(trustedSql(text));
      await app.database.execute(sql`select pg_reload_conf()`);
      await expect
        .poll(
          async () =>
            (await app.database.one(sql`show synchronous_standby_names`))['synchronous_standby_names'],
        )
        .toBe(names);
    };
    const id = nextId();
    await standbyNames('nobody');
    try {
      const answer = await fetch(`${app.url}/notes`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-request-timeout-ms': '700' },
        body: JSON.stringify({ id }),
      });
      expect(answer.status).toBe(504);
      const told = seenTokens(secret).read(tokenOf(answer)['plimsoll-seen'] ?? '');
      expect(told?.isUnknown(app.database.name)).toBe(true);
    } finally {
      await standbyNames('');
    }
  });
});

test('a job and a delivery see what their writer has written, however late the replica is', async () => {
  looked = [];
  const [app] = await startTwo(plainPlan);
  await apps.pop()?.stop();
  await replica.pause();
  const id = nextId();
  await app.call(notes.announce, { id });
  await untilIdle(app);
  expect(looked.toSorted((a, b) => a.where.localeCompare(b.where))).toEqual([
    { where: 'job', id, found: true },
    { where: 'subscription', id, found: true },
  ]);
  // The same read by somebody who has seen nothing.
  await look('outside', id);
  expect(looked.at(-1)).toEqual({ where: 'outside', id, found: false });
});
