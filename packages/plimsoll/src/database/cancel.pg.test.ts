import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import { createContext, runInContext, type RequestContext } from '../kernel/context.ts';
import { createDatabase, type Database, type DatabaseOptions } from './database.ts';
import { sql } from './sql.ts';

let server: TestDatabase;
let admin: Database;
const opened: Database[] = [];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  admin = createDatabase({ url: server.url, applicationName: 'admin' });
  await admin.execute(sql`create table note (text text not null, seconds float8 not null default 0)`);
  // COMMIT of a note takes as many seconds as it says.
  await admin.execute(sql`
    create function sleep_at_commit() returns trigger language plpgsql as
    'begin perform pg_sleep(new.seconds); return null; end'`);
  await admin.execute(sql`
    create constraint trigger sleep_at_commit after insert on note deferrable initially deferred
    for each row when (new.seconds > 0) execute function sleep_at_commit()`);
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((database) => database.close()));
  await admin.execute(sql`truncate note`);
});
afterAll(async () => {
  await admin.close();
  await server.drop();
});

function open(options: Partial<DatabaseOptions> = {}): Database {
  const database = createDatabase({
    url: server.url,
    applicationName: 'subject',
    pool: { max: 1 },
    ...options,
  });
  opened.push(database);
  return database;
}

/** What the subject's backends do, as the server sees it. */
async function active(): Promise<string[]> {
  const rows = await admin.query<{ query: string }>(
    sql`select query from pg_stat_activity where application_name = 'subject' and state <> 'idle'`,
  );
  return rows.map(({ query }) => query);
}

const within = (ms: number): RequestContext => createContext({ deadlineAtMs: performance.now() + ms });
const idleAgain = { inUse: 0, open: 1, waiting: 0, max: 1 };

test('a statement is cancelled on the server when the deadline passes, and its connection is kept', async () => {
  const database = open();
  const before = await database.one(sql`select pg_backend_pid() as pid`);
  await expect(
    runInContext(within(50), () => database.query(sql`select pg_sleep(60)`)),
  ).rejects.toMatchObject({ code: 'PL_DEADLINE', message: expect.stringContaining('cancelled') as string });
  expect(await active()).toEqual([]);
  expect(database.pools()['primary']).toMatchObject(idleAgain);
  // The same backend, and the cancellation does not hit what it runs next.
  for (let round = 0; round < 20; round += 1)
    expect(await database.one(sql`select pg_backend_pid() as pid`)).toEqual(before);
});

test('a statement is cancelled when the caller goes away, in a transaction and on the read-only side', async () => {
  const database = open();
  const run = [
    (): Promise<unknown> => database.query(sql`select pg_sleep(60)`),
    (): Promise<unknown> => database.readOnly((db) => db.query(sql`select pg_sleep(60)`)),
    (): Promise<unknown> =>
      database.transaction(async (tx) => {
        await tx.execute(sql`insert into note (text) values ('lost')`);
        await tx.query(sql`select pg_sleep(60)`);
      }),
  ];
  for (const work of run) {
    const caller = new AbortController();
    const gone = runInContext(createContext({ signal: caller.signal }), work).catch(
      (error: unknown) => error,
    );
    await expect.poll(active, { timeout: 10_000 }).toEqual(['select pg_sleep(60)']);
    caller.abort(new Error('closed the tab'));
    expect(await gone).toMatchObject({ code: 'PL_ABORTED', cause: { message: 'closed the tab' } });
    await expect.poll(active, { timeout: 5_000 }).toEqual([]);
  }
  expect(await database.query(sql`select * from note`)).toEqual([]);
  expect(database.pools()).toMatchObject({ primary: idleAgain, 'primary-reads': idleAgain });
});

test('many at their deadline at once are all cancelled, each with its own connection', async () => {
  const database = open({ pool: { max: 5 } });
  const ended = await Promise.allSettled(
    Array.from({ length: 20 }, (_, index) =>
      runInContext(within(40 + index * 5), () => database.query(sql`select pg_sleep(60)`)),
    ),
  );
  expect(ended.map((end) => end.status === 'rejected' && (end.reason as { code: string }).code)).toEqual(
    Array.from({ length: 20 }, () => 'PL_DEADLINE'),
  );
  await expect.poll(active, { timeout: 5_000 }).toEqual([]);
  await expect.poll(() => database.pools()['primary']).toMatchObject({ inUse: 0, waiting: 0 });
  expect(await database.one(sql`select 1 as one`)).toEqual({ one: 1 });
});

test('a statement that fails by itself tells its own reason; statement_timeout is not taken for the deadline', async () => {
  const database = open({ pool: { max: 1, statementTimeoutMs: 50 } });
  await expect(
    runInContext(within(60_000), () => database.query(sql`select pg_sleep(60)`)),
  ).rejects.toMatchObject({ code: 'PL_STATEMENT_TIMEOUT' });
  await expect(runInContext(within(60_000), () => database.query(sql`select 1/0`))).rejects.toMatchObject({
    code: '22012',
  });
});

test('the end of the request during COMMIT: the outcome is unknown, and here it was committed', async () => {
  const database = open();
  const committing = runInContext(within(300), () =>
    database.transaction((tx) => tx.execute(sql`insert into note (text, seconds) values ('kept', 0.8)`)),
  );
  await expect(committing).rejects.toMatchObject({
    code: 'PL_COMMIT_UNKNOWN',
    cause: { code: 'PL_DEADLINE' },
  });
  expect(database.pools()['primary']).toMatchObject({ inUse: 0 });
  await expect
    .poll(() => admin.query(sql`select text from note`), { timeout: 10_000 })
    .toEqual([{ text: 'kept' }]);
});

test('a caller who goes away while it waits for a connection is told at once, and none is lost', async () => {
  const database = open({ pool: { max: 1, acquireTimeoutMs: 60_000 } });
  const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
  const holding = database.transaction(async (tx) => {
    await tx.query(sql`select 1`);
    await held;
  });
  await expect.poll(() => database.pools()['primary']?.inUse).toBe(1);
  const caller = new AbortController();
  const waiting = runInContext(createContext({ signal: caller.signal }), () =>
    database.query(sql`select 1`),
  ).catch((error: unknown) => error);
  caller.abort();
  expect(await waiting).toMatchObject({
    code: 'PL_ABORTED',
    message: expect.stringContaining('waiting for a connection to primary') as string,
    data: { server: 'primary', inUse: 1, max: 1 },
  });
  letGo();
  await holding;
  await expect.poll(() => database.pools()['primary']).toMatchObject(idleAgain);
});

/** Passes everything through to the server, but no request to cancel. */
async function proxyDeafToCancel(): Promise<{ readonly url: string; close(): void }> {
  const target = new URL(server.url);
  const sockets = new Set<Socket>();
  const proxy = createServer((inbound) => {
    sockets.add(inbound);
    inbound.on('error', () => undefined);
    inbound.once('data', (first) => {
      // CancelRequest: length 16, then the code 80877102.
      if (first.length === 16 && first.readInt32BE(4) === 80_877_102) return;
      const outbound = connect(Number(target.port), target.hostname);
      sockets.add(outbound);
      outbound.on('error', () => undefined);
      outbound.write(first);
      inbound.pipe(outbound).pipe(inbound);
    });
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const url = new URL(server.url);
  url.hostname = '127.0.0.1';
  url.port = String((proxy.address() as AddressInfo).port);
  return {
    url: url.href,
    close() {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    },
  };
}

test('when the server does not hear the cancellation, the connection is cut and replaced', async () => {
  const proxy = await proxyDeafToCancel();
  try {
    const database = open({ url: proxy.url });
    const before = await database.one<{ pid: number }>(sql`select pg_backend_pid() as pid`);
    await expect(
      runInContext(within(50), () => database.query(sql`select pg_sleep(60)`)),
    ).rejects.toMatchObject({ code: 'PL_DEADLINE' });
    expect(database.pools()['primary']?.inUse).toBe(0);
    const after = await database.one<{ pid: number }>(sql`select pg_backend_pid() as pid`);
    expect(after.pid).not.toBe(before.pid);
    await admin.execute(sql`select pg_terminate_backend(${before.pid})`);
  } finally {
    await Promise.all(opened.splice(0).map((database) => database.close()));
    proxy.close();
  }
});
