import { startCluster, type Cluster, type Replica, type TestDatabase } from '@plimsoll/embedded';
import {
  createDatabase,
  Seen,
  seenTokens,
  sql,
  type Database,
  type DatabaseOptions,
} from 'plimsoll/database';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { routes } from '../../kernel/channels.ts';

let cluster: Cluster;
let replica: Replica;
let server: TestDatabase;
const opened: Database[] = [];

beforeAll(async () => {
  cluster = await startCluster({ replicas: 1 });
  [replica] = cluster.replicas as [Replica];
  server = await cluster.createDatabase();
  await using admin = createDatabase({ url: server.url });
  await admin.execute(sql`create table note (id int primary key)`);
  await replica.caughtUp();
}, 60_000);
afterEach(async () => {
  await Promise.all(opened.splice(0).map((database) => database.close()));
  await replica.resume();
});
afterAll(async () => {
  await cluster?.stop();
});

const secret = 'the same in each process, 32 characters or more';
const long = 600_000;
let lastId = 0;

async function open(windowMs: number, options: Partial<DatabaseOptions> = {}): Promise<Database> {
  const database = createDatabase({
    url: server.url,
    replicaUrls: server.replicaUrls,
    consistency: 'window',
    ...options,
    routing: {
      pooler: 'opaque',
      windowMs,
      pollTimeoutMs: 5_000,
      lagBudgetMs: long,
      lagBudgetBytes: 2 ** 40,
      ...options.routing,
    },
  });
  opened.push(database);
  await database.ping();
  await expect.poll(() => database.routing().replicas[0]?.out, { timeout: 20_000 }).toBeUndefined();
  return database;
}

async function write(database: Database, seen: Seen): Promise<number> {
  const id = (lastId += 1);
  await database.transaction((tx) => tx.execute(sql`insert into note (id) values (${id})`), { seen });
  return id;
}

/** Whether a read shows the row, and where it went. */
async function look(database: Database, seen: Seen, id: number): Promise<[boolean, string]> {
  let went = '';
  const stop = routes.subscribe(({ scope, role, reason }) => {
    if (scope === database.scope) went = `${role} ${reason}`;
  });
  try {
    const row = await database.readOnly((db) => db.maybeOne(sql`select id from note where id = ${id}`), {
      seen,
    });
    return [row !== undefined, went];
  } finally {
    stop();
  }
}

test('what the page shows', async () => {
  const { url: primaryUrl, replicaUrls } = server;
  const [readerUrl = ''] = replicaUrls;
  // #region window
  await using database = createDatabase({
    url: primaryUrl,
    replicaUrls: [readerUrl],
    consistency: 'window',
    routing: { pooler: 'opaque', windowMs: 2_000 },
  });
  // #endregion
  const seen = new Seen();
  const id = await write(database, seen);
  expect(
    await database.readOnly((db) => db.query(sql`select id from note where id = ${id}`), { seen }),
  ).toEqual([{ id }]);
});

test('who has just written reads the primary, who has not or long ago reads a replica', async () => {
  const database = await open(long);
  await replica.pause();
  const seen = new Seen();
  const id = await write(database, seen);
  expect(await look(database, seen, id)).toEqual([true, 'primary window']);
  expect(await look(database, new Seen(), id)).toEqual([false, 'replica intent']);
  const longAgo = new Seen();
  longAgo.noteWroteAt(database.name, Date.now() - long - 1);
  expect(await look(database, longAgo, id)).toEqual([false, 'replica intent']);
  const { fallback, primaryReasons } = database.routing();
  expect(primaryReasons).toEqual({ window: 1 });
  expect(fallback).toBeGreaterThan(0);
});

test('a statement outside a transaction counts, one that was rolled back or only read does not', async () => {
  const database = await open(long);
  const reader = new Seen();
  await database.transaction((tx) => tx.query(sql`select 1`), { seen: reader });
  const undone = database.transaction(
    async (tx) => {
      await tx.execute(sql`insert into note (id) values (${(lastId += 1)})`);
      throw new Error('changed my mind');
    },
    { seen: reader },
  );
  await expect(undone).rejects.toThrow('changed my mind');
  await database.readOnly((db) => db.query(sql`select 1`), { seen: reader, consistency: 'strong' });
  expect((await look(database, reader, 0))[1]).toBe('replica intent');
  expect((await look(database, database.seenUntilNow(), 0))[1]).toBe('primary window');
});

test('the time travels in the token: another process keeps its client on the primary, too', async () => {
  const [here, there] = await Promise.all([open(long), open(long)]);
  await replica.pause();
  const seen = new Seen();
  const id = await write(here, seen);
  const token = seenTokens(secret).write(seen) ?? '';
  const carried = seenTokens(secret).read(token) ?? new Seen();
  expect(await look(there, carried, id)).toEqual([true, 'primary window']);
  // What came from a process whose clock is ahead counts as now, and what is written here is not hidden by it.
  const ahead = new Seen();
  ahead.noteWroteAt(there.name, Date.now() + long);
  const taken = new Seen();
  taken.mergeAll(ahead);
  for (const each of [ahead, taken]) expect((await look(there, each, id))[1]).toBe('primary window');
  expect(taken.wroteAtMs(there.name)).toBeLessThanOrEqual(Date.now());
});

test('servers that tell no position: a replica serves, and who has written reads the primary', async () => {
  const bare = await cluster.createDatabase();
  await using admin = createDatabase({ url: bare.url });
  await admin.execute(sql`create schema shadow`);
  await admin.execute(sql`create table public.note (id int primary key)`);
  for (const name of ['last_wal_replay', 'last_wal_receive', 'current_wal_insert', 'current_wal_flush'])
    await admin.execute(sql`create function ${sql.id('shadow', `pg_${name}_lsn`)}() returns pg_lsn language plpgsql
      as $$ begin raise exception 'not supported' using errcode = '0A000'; end $$`);
  const database = new URL(bare.url).pathname.slice(1);
  await admin.execute(sql`alter database ${sql.id(database)} set search_path = shadow, pg_catalog, public`);
  await replica.caughtUp();
  const routed = await open(long, bare);
  await replica.pause();
  const seen = new Seen();
  const id = await write(routed, seen);
  expect(await look(routed, seen, id)).toEqual([true, 'primary window']);
  expect(await look(routed, new Seen(), id)).toEqual([false, 'replica intent']);
  expect(routed.routing().unsupported).toMatch(/0A000/);
});

test('its weakness: a replica that is late for longer than the window hides the own write', async () => {
  const database = await open(50);
  await replica.pause();
  const seen = new Seen();
  const id = await write(database, seen);
  await expect.poll(() => look(database, seen, id), { timeout: 20_000 }).toEqual([false, 'replica intent']);
  // The control: at the level session the same reader, with the same token, is shown it.
  const exact = await open(50, { consistency: 'session', routing: { pooler: 'none', waitMs: 0 } });
  expect(await look(exact, seen, id)).toEqual([true, 'primary token']);
});
