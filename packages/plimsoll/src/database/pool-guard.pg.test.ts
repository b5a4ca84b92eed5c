import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import { createContext, runInContext } from '../kernel/context.ts';
import { createDatabase, type Database, type DatabaseOptions } from './database.ts';
import { connectionsPerModule } from './pool-guard.ts';
import { sql } from './sql.ts';

let server: TestDatabase;
const opened: Database[] = [];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((database) => database.close()));
});
afterAll(() => server.drop());

function open(options: Partial<DatabaseOptions> = {}): Database {
  const database = createDatabase({ url: server.url, ...options });
  opened.push(database);
  return database;
}

const as = <T>(operation: string, fn: () => Promise<T>): Promise<T> =>
  runInContext(createContext({ path: [operation] }), fn);

test('a module whose statements hang holds its share of the connections, and others have theirs', async () => {
  const database = open({ pool: { max: 4 } });
  const gate = await database.session();
  await gate.execute(sql`select pg_advisory_lock(7)`);
  const hanging = Array.from({ length: 9 }, () =>
    as('slow.wait', () => database.execute(sql`select pg_advisory_lock_shared(7)`)),
  );
  const slow = (): unknown =>
    database.pools()['primary']?.guard?.modules.find(({ name }) => name.includes('slow'));
  await expect.poll(slow).toMatchObject({ active: 3, max: 3, waiting: 6 });
  expect(database.pools()['primary']).toMatchObject({ inUse: 3, max: 4, waiting: 0 });
  expect(await as('well.see', () => database.one(sql`select 1 as one`))).toEqual({ one: 1 });
  // What no module asks for is not in any share.
  expect(await database.one(sql`select 1 as one`)).toEqual({ one: 1 });
  expect(
    await as('well.run', () =>
      database.transaction(async (tx) => {
        await tx.execute(sql`select 1`);
        return 'committed';
      }),
    ),
  ).toBe('committed');
  await gate.execute(sql`select pg_advisory_unlock(7)`);
  await gate.close();
  await Promise.all(hanging);
  expect(slow()).toMatchObject({ active: 0, waiting: 0 });
  expect(database.pools()['primary']).toMatchObject({ inUse: 0 });
});

test('a wait for the share of the module ends as one for a connection does', async () => {
  const database = open({ pool: { max: 4, maxPerModule: 1, acquireTimeoutMs: 1_000 } });
  await as('slow.run', () =>
    database.transaction(async (tx) => {
      await tx.execute(sql`select 1`);
      await expect(database.execute(sql`select 1`)).rejects.toMatchObject({
        code: 'PL_BULKHEAD_FULL',
        data: { name: 'connections of slow to primary' },
      });
    }),
  );
});

test('small pools are not shared out', () => {
  expect([1, 2, 3, 4, 10, 100].map(connectionsPerModule)).toEqual([1, 2, 3, 3, 8, 75]);
});

/** Stands before PostgreSQL; without a way there it ends each connection at once. */
async function standBefore(url: string): Promise<{ url: string; way: { open: boolean }; server: Server }> {
  const { port, hostname } = new URL(url);
  const way = { open: false };
  const sockets = new Set<Socket>();
  const proxy = createServer((socket) => {
    sockets.add(socket);
    if (!way.open) return void socket.destroy();
    const there = connect(Number(port), hostname);
    for (const [from, to] of [
      [socket, there],
      [there, socket],
    ] as const) {
      from.pipe(to);
      from.on('error', () => to.destroy());
    }
  });
  proxy.on('close', () => {
    for (const socket of sockets) socket.destroy();
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const before = new URL(url);
  before.port = String((proxy.address() as AddressInfo).port);
  return { url: before.href, way, server: proxy };
}

test('a server that gives no connections is asked now and then, and used again once it does', async () => {
  const proxy = await standBefore(server.url);
  let connections = 0;
  proxy.server.on('connection', () => (connections += 1));
  const database = open({ url: proxy.url, pool: { breaker: { breakMs: 20, maxBreakMs: 40 } } });
  const codeOf = (): Promise<unknown> =>
    database.execute(sql`select 1`).then(
      () => 'ok',
      (error: unknown) => (error as { code: unknown }).code,
    );
  const first = await Promise.all(Array.from({ length: 10 }, codeOf));
  expect(new Set(first)).toEqual(new Set(['PL_DATABASE_UNAVAILABLE']));
  expect(database.pools()['primary']?.guard?.breaker?.state).toBe('open');
  const before = connections;
  const next = await Promise.all(Array.from({ length: 500 }, codeOf));
  expect(next).toContain('PL_BREAKER_OPEN');
  expect(connections - before).toBeLessThanOrEqual(1);
  proxy.way.open = true;
  await expect.poll(codeOf).toBe('ok');
  expect(new Set(await Promise.all(Array.from({ length: 20 }, codeOf)))).toEqual(new Set(['ok']));
  await database.close();
  proxy.server.close();
});
