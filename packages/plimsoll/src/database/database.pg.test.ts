import { createServer, type AddressInfo } from 'node:net';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { background, poolWaits, queries } from '../kernel/channels.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { createDatabase, type Database, type DatabaseOptions } from './database.ts';
import { sqlState } from './failures.ts';
import { sql } from './sql.ts';
import type { Queryable } from './statements.ts';

let server: TestDatabase;
/** For looking at and interfering with the others. */
let admin: Database;
const opened: Database[] = [];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  admin = createDatabase({ url: server.url, applicationName: 'admin' });
  await admin.execute(sql`create table account (
    id int primary key generated always as identity, name text unique not null, balance int not null default 0)`);
  await admin.execute(sql`create table parent (id int primary key)`);
  await admin.execute(sql`
    create table child (parent int references parent deferrable initially deferred)`);
  // COMMIT of an insert waits for an advisory lock.
  await admin.execute(sql`create table gate (key int)`);
  await admin.execute(sql`
    create function wait_at_gate() returns trigger language plpgsql as
    'begin perform pg_advisory_xact_lock(new.key); return null; end'`);
  await admin.execute(sql`
    create constraint trigger wait_at_gate after insert on gate deferrable initially deferred
    for each row execute function wait_at_gate()`);
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((database) => database.close()));
  await admin.execute(sql`truncate account, child, parent, gate`);
});
afterAll(async () => {
  await admin.close();
  await server.drop();
});

function open(options: Partial<DatabaseOptions> = {}): Database {
  const database = createDatabase({ url: server.url, ...options });
  opened.push(database);
  return database;
}

async function pidOf(on: Queryable): Promise<number> {
  return (await on.one<{ pid: number }>(sql`select pg_backend_pid() as pid`)).pid;
}

async function terminate(pid: number): Promise<void> {
  expect(await admin.one(sql`select pg_terminate_backend(${pid}, 10000) as gone`)).toEqual({ gone: true });
}

const names = async (): Promise<string[]> =>
  (await admin.query<{ name: string }>(sql`select name from account order by name`)).map(({ name }) => name);

const insert = (name: string): ReturnType<typeof sql> => sql`insert into account (name) values (${name})`;

/** Resolves when a backend waits for an advisory lock, with its process id. */
async function waitingForLock(key: number): Promise<number> {
  let pid = 0;
  await expect
    .poll(
      async () => {
        const rows = await admin.query<{ pid: number }>(
          sql`select pid from pg_locks where locktype = 'advisory' and objid = ${key} and not granted
              and database = (select oid from pg_database where datname = current_database())`,
        );
        pid = rows[0]?.pid ?? 0;
        return rows.length;
      },
      { timeout: 10_000 },
    )
    .toBe(1);
  return pid;
}

/** Occupies a connection until released. */
async function occupy(database: Database): Promise<{ pid: number; release: () => Promise<void> }> {
  const started = Promise.withResolvers<number>();
  const released = Promise.withResolvers<void>();
  const held = database.transaction(async (tx) => {
    started.resolve(await pidOf(tx));
    await released.promise;
  });
  held.catch(started.reject);
  return {
    pid: await started.promise,
    release: async () => {
      released.resolve();
      await held;
    },
  };
}

describe('transactions', () => {
  test('a transaction commits exactly when its function resolves', async () => {
    // #region transaction
    const database = open();
    const id = await database.transaction(async (tx) => {
      const ada = await tx.one<{ id: number }>(
        sql`insert into account (name) values (${'ada'}) returning id`,
      );
      await tx.execute(sql`update account set balance = balance + ${100} where id = ${ada.id}`);
      return ada.id;
    });
    // #endregion
    expect(await database.one(sql`select name, balance from account where id = ${id}`)).toEqual({
      name: 'ada',
      balance: 100,
    });
    expect(database.pools()['primary']).toMatchObject({ inUse: 0, open: 1 });
  });

  test('a throw rolls everything back, reaches the caller as it is, and leaves the connection usable', async () => {
    const database = open({ pool: { max: 1 } });
    const failure = new Error('changed my mind');
    let pid = 0;
    await expect(
      database.transaction(async (tx) => {
        pid = await pidOf(tx);
        await tx.execute(insert('ada'));
        throw failure;
      }),
    ).rejects.toBe(failure);
    expect(await names()).toEqual([]);
    expect(await pidOf(database)).toBe(pid);
  });

  test('a failure in beforeCommit rolls back; what it writes commits with the rest', async () => {
    const database = open();
    await database.transaction((tx) => tx.execute(insert('ada')), {
      beforeCommit: async (tx) => void (await tx.execute(insert('grace'))),
    });
    expect(await names()).toEqual(['ada', 'grace']);
    await expect(
      database.transaction((tx) => tx.execute(insert('edsger')), {
        beforeCommit: () => Promise.reject(new Error('no')),
      }),
    ).rejects.toThrow('no');
    expect(await names()).toEqual(['ada', 'grace']);
  });

  test('a swallowed statement failure is not taken for a commit', async () => {
    const database = open();
    await expect(
      // #region swallowed
      database.transaction(async (tx) => {
        await tx.execute(sql`insert into account (name) values ('grace')`);
        await tx.execute(sql`insert into account (name) values ('grace')`).catch(() => undefined);
        // PostgreSQL has aborted the transaction: the COMMIT that follows is answered with ROLLBACK.
      }),
      // #endregion
    ).rejects.toMatchObject({ code: 'PL_TRANSACTION_ABORTED' });
    expect(await names()).toEqual([]);
    expect(database.pools()['primary']?.inUse).toBe(0);
  });

  test('a constraint violation stays the error of pg', async () => {
    const database = open();
    await database.execute(insert('ada'));
    const failure = await database.execute(insert('ada')).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: '23505', constraint: 'account_name_key' });
    expect(sqlState(failure)).toBe('23505');
  });

  test('a transaction takes no connection before its first statement', async () => {
    const database = open();
    const result = await database.transaction(async (tx) => {
      await Promise.resolve();
      expect(tx.begun).toBe(false);
      expect(database.pools()['primary']).toMatchObject({ inUse: 0, open: 0 });
      await tx.query(sql`select 1`);
      expect(tx.begun).toBe(true);
      expect(database.pools()['primary']).toMatchObject({ inUse: 1, open: 1 });
      return 'done';
    });
    expect(result).toBe('done');
    expect(await database.transaction(() => Promise.resolve('untouched'))).toBe('untouched');
  });

  test('concurrent first statements share one BEGIN and one connection', async () => {
    const database = open();
    const texts: string[] = [];
    const stop = queries.subscribe(({ scope, text }) => scope === database.scope && texts.push(text));
    try {
      const pids = await database.transaction((tx) => Promise.all([pidOf(tx), pidOf(tx), pidOf(tx)]));
      expect(new Set(pids).size).toBe(1);
    } finally {
      stop();
    }
    expect(texts.filter((text) => text === 'begin')).toHaveLength(1);
    expect(texts[0]).toBe('begin');
  });

  test('a statement that was not awaited before the end is refused, not run outside', async () => {
    const database = open();
    let leaked: Parameters<Parameters<Database['transaction']>[0]>[0] | undefined;
    await database.transaction(async (tx) => {
      leaked = tx;
      await tx.execute(insert('ada'));
    });
    await expect(leaked!.execute(insert('late'))).rejects.toMatchObject({ code: 'PL_TRANSACTION_ENDED' });
    await expect(
      database.transaction(async (tx) => {
        leaked = tx;
        await tx.execute(insert('grace'));
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    await expect(leaked!.execute(insert('late'))).rejects.toMatchObject({ code: 'PL_TRANSACTION_ENDED' });
    expect(await names()).toEqual(['ada']);
  });

  test('a serialization failure is told as such, also when it comes with COMMIT', async () => {
    const database = open();
    const both = Promise.withResolvers<void>();
    let ready = 0;
    const skew = (name: string): Promise<void> =>
      database.transaction(async (tx) => {
        await tx.execute(sql`set transaction isolation level serializable`);
        await tx.query(sql`select count(*) from account`);
        await tx.execute(insert(name));
        ready += 1;
        if (ready === 2) both.resolve();
        await both.promise;
      });
    const outcomes = await Promise.allSettled([skew('ada'), skew('grace')]);
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    const rejected = outcomes.find((outcome) => outcome.status === 'rejected');
    expect(rejected?.reason).toMatchObject({ code: 'PL_SERIALIZATION', retryable: true });
    expect(sqlState(rejected?.reason)).toBe('40001');
    expect(await names()).toHaveLength(1);
  });

  test('a constraint that COMMIT checks stays the error of pg, and the connection is kept', async () => {
    const database = open({ pool: { max: 1 } });
    const pid = await pidOf(database);
    const failure = await database
      .transaction((tx) => tx.execute(sql`insert into child (parent) values (1)`))
      .catch((error: unknown) => error);
    expect(sqlState(failure)).toBe('23503');
    expect(await admin.query(sql`select * from child`)).toEqual([]);
    expect(await pidOf(database)).toBe(pid);
  });
});

describe('rows', () => {
  test('one and maybeOne hold the number of rows to their word', async () => {
    const database = open();
    // #region query
    const accounts = await database.query<{ name: string }>(
      sql`select name from account where balance > ${0}`,
    );
    const ada = await database.maybeOne<{ name: string }>(
      sql`select name from account where name = ${'ada'}`,
    );
    const { total } = await database.one<{ total: number }>(sql`select count(*) as total from account`);
    const changed = await database.execute(sql`update account set balance = 0 where balance < ${0}`);
    // #endregion
    expect({ accounts, ada, total, changed }).toEqual({ accounts: [], ada: undefined, total: 0, changed: 0 });
    const many = sql`select * from generate_series(1, 3)`;
    await expect(database.one(sql`select 1 where false`)).rejects.toMatchObject({
      code: 'PL_ROW_COUNT',
      message: expect.stringContaining('exactly one row but got 0 from: select 1 where false') as string,
    });
    await expect(database.one(many)).rejects.toMatchObject({ code: 'PL_ROW_COUNT', data: { rows: 3 } });
    await expect(database.maybeOne(many)).rejects.toMatchObject({ code: 'PL_ROW_COUNT', data: { rows: 3 } });
    expect(
      await database.execute(sql`insert into account (name) select 'n' || n from generate_series(1, 3) n`),
    ).toBe(3);
  });

  test('PL_ROW_COUNT rolls a transaction back', async () => {
    const database = open();
    await expect(
      database.transaction(async (tx) => {
        await tx.execute(insert('ada'));
        await tx.one(sql`select 1 where false`);
      }),
    ).rejects.toMatchObject({ code: 'PL_ROW_COUNT' });
    expect(await names()).toEqual([]);
  });

  test('int8 becomes a number only when that loses nothing', async () => {
    const database = open();
    for (const text of ['0', '-1', '9007199254740991', '-9007199254740991'])
      expect(await database.one(sql`select ${text}::int8 as n`)).toEqual({ n: Number(text) });
    for (const text of ['9007199254740992', '-9007199254740993', '9223372036854775807']) {
      await expect(database.one(sql`select ${text}::int8 as n`)).rejects.toMatchObject({
        code: 'PL_INT8_UNSAFE',
        data: { value: text },
      });
      // #region int8-as-text
      const { n } = await database.one<{ n: string }>(sql`select ${text}::int8::text as n`);
      // #endregion
      expect(n).toBe(text);
    }
    expect(database.pools()['primary']).toMatchObject({ inUse: 0, open: 1 });
    // An array of them loses nothing either: it stays text.
    expect(await database.one(sql`select array[1, 9223372036854775807]::int8[] as n`)).toEqual({
      n: ['1', '9223372036854775807'],
    });
  });

  test('an unsafe int8 in a transaction rolls it back', async () => {
    const database = open();
    await expect(
      database.transaction(async (tx) => {
        await tx.execute(insert('ada'));
        await tx.one(sql`select 9223372036854775807 as n`);
      }),
    ).rejects.toMatchObject({ code: 'PL_INT8_UNSAFE' });
    expect(await names()).toEqual([]);
  });

  test('values come back as they went', async () => {
    const database = open();
    const at = new Date('2024-02-29T23:59:59.123Z');
    const document = { text: 'it\'s "quoted"', list: [1, null, { deep: true }], unicode: '\u{1F6A2}' };
    const row = await database.one(sql`
      select ${'12345678901234567890.123456789'}::numeric as exact, ${at}::timestamptz as at,
        ${[1, 2, 3]}::int[] as numbers, ${['a,b', 'c"d', '{}', null]}::text[] as texts, ${[]}::text[] as none,
        ${document}::jsonb as document, ${sql.json([1, 'two', null])} as list, ${null}::text as nothing,
        ${true}::bool as yes, ${Buffer.from([0, 255])}::bytea as bytes, ${2n ** 62n}::numeric as big`);
    expect(row).toEqual({
      exact: '12345678901234567890.123456789',
      at,
      numbers: [1, 2, 3],
      texts: ['a,b', 'c"d', '{}', null],
      none: [],
      document,
      list: [1, 'two', null],
      nothing: null,
      yes: true,
      bytes: Buffer.from([0, 255]),
      big: '4611686018427387904',
    });
  });

  test('the channel tells the text with placeholders, never the values', async () => {
    const database = open();
    const seen: unknown[] = [];
    const stop = queries.subscribe((message) => message.scope === database.scope && seen.push(message));
    try {
      await runInContext(createContext({ path: ['accounts.byName'] }), () =>
        database.query(sql`select ${'secret'}::text`),
      );
      await database.query(sql`select * from nowhere`).catch(() => undefined);
    } finally {
      stop();
    }
    expect(seen).toMatchObject([
      { text: 'select $1::text', rows: 1, server: 'primary', operation: 'accounts.byName' },
      { text: 'select * from nowhere', rows: 0, error: { code: '42P01' } },
    ]);
    expect(JSON.stringify(seen)).not.toContain('secret');
  });
});

describe('readOnly', () => {
  const recovery = sql`select pg_is_in_recovery() as replica`;

  test.skipIf(inject('cluster').replicaUrls.length === 0)(
    'reads go to the replicas, everything else to the primary (skipped without a replica)',
    async () => {
      const [replicaUrl = ''] = server.replicaUrls;
      const database = open({ replicaUrls: [replicaUrl, replicaUrl] });
      await database.ping();
      const servers: string[] = [];
      const stop = queries.subscribe(
        (message) => message.scope === database.scope && servers.push(message.server),
      );
      try {
        for (let read = 0; read < 4; read += 1)
          expect(await database.readOnly((db) => db.one(recovery))).toEqual({ replica: true });
        expect(await database.one(recovery)).toEqual({ replica: false });
        expect(await database.transaction((tx) => tx.one(recovery))).toEqual({ replica: false });
      } finally {
        stop();
      }
      for (const name of servers.slice(0, 4)) expect(['replica-1', 'replica-2']).toContain(name);
      expect(Object.keys(database.pools())).toEqual(['primary', 'primary-reads', 'replica-1', 'replica-2']);
      await database.ping();
    },
  );

  test.skipIf(inject('cluster').replicaUrls.length === 0)(
    'a strong read goes to the primary, and sees the last commit at once (skipped without a replica)',
    async () => {
      const [replicaUrl = ''] = server.replicaUrls;
      const database = open({ replicaUrls: [replicaUrl, replicaUrl] });
      const servers: string[] = [];
      const stop = queries.subscribe(
        (message) => message.scope === database.scope && servers.push(message.server),
      );
      const strong = { consistency: 'strong' } as const;
      await database.ping();
      servers.length = 0;
      try {
        for (let turn = 0; turn < 4; turn += 1) {
          await database.execute(insert(`n${turn}`));
          const count = sql`select count(*) as n, pg_is_in_recovery() as replica from account`;
          expect(await database.readOnly((db) => db.one(count), strong)).toEqual({
            n: turn + 1,
            replica: false,
          });
          await database.readOnly((db) => db.one(recovery));
        }
      } finally {
        stop();
      }
      expect(servers.filter((name) => name === 'primary-reads')).toHaveLength(4);
      const write = database.readOnly((db) => db.execute(insert('ada')), strong);
      expect(sqlState(await write.catch((error: unknown) => error))).toBe('25006');
    },
  );

  test.skipIf(inject('cluster').replicaUrls.length === 0)(
    'what was committed appears on the replica, later (skipped without a replica)',
    async () => {
      const database = open({ replicaUrls: server.replicaUrls });
      await database.execute(insert('ada'));
      await expect
        .poll(() => database.readOnly((db) => db.query(sql`select name from account`)), { timeout: 10_000 })
        .toEqual([{ name: 'ada' }]);
    },
  );

  test.each([
    ['on a replica', (): Partial<DatabaseOptions> => ({ replicaUrls: server.replicaUrls })],
    ['without replicas', (): Partial<DatabaseOptions> => ({})],
    [
      'when the URL sets options of its own',
      (): Partial<DatabaseOptions> => ({ url: `${server.url}?options=-c%20search_path%3Dpublic` }),
    ],
  ])('a write %s is refused by the server', async (_where, options) => {
    const database = open(options());
    const failure = await database
      .readOnly((db) => db.execute(insert('ada')))
      .catch((error: unknown) => error);
    expect(sqlState(failure)).toBe('25006');
    expect(await names()).toEqual([]);
    // Only reads are limited, and they still work.
    expect(await database.readOnly((db) => db.one(sql`select 1 as one`))).toEqual({ one: 1 });
    await database.execute(insert('ada'));
    expect(await names()).toEqual(['ada']);
  });

  test('the options of the URL hold in the sessions that read, too', async () => {
    const database = open({ url: `${server.url}?options=-c%20search_path%3Dpg_catalog` });
    expect(await database.readOnly((db) => db.one(sql`show search_path`))).toEqual({
      search_path: 'pg_catalog',
    });
  });
});

describe('the pool', () => {
  test('an exhausted pool answers with its numbers, and serves those who wait in order', async () => {
    const database = open({ pool: { max: 1, acquireTimeoutMs: 1_000 } });
    const waits: { waitMs: number; error?: unknown }[] = [];
    const stop = poolWaits.subscribe((message) => message.scope === database.scope && waits.push(message));
    try {
      const held = await occupy(database);
      await expect(database.query(sql`select 1`)).rejects.toMatchObject({
        code: 'PL_POOL_TIMEOUT',
        message: expect.stringMatching(/no connection to primary within \d+ ms: 1 of 1 in use/) as string,
        data: { server: 'primary', inUse: 1, open: 1, max: 1 },
      });
      expect(waits.at(-1)).toMatchObject({ max: 1, inUse: 1, error: { code: 'PL_POOL_TIMEOUT' } });
      await held.release();
      expect(await database.one(sql`select 1 as one`)).toEqual({ one: 1 });
    } finally {
      stop();
    }

    const patient = open({ pool: { max: 1, acquireTimeoutMs: 60_000 } });
    const held = await occupy(patient);
    const order: number[] = [];
    const waiting = [0, 1, 2, 3, 4].map((turn) =>
      patient.transaction(async (tx) => {
        await tx.query(sql`select 1`);
        order.push(turn);
      }),
    );
    expect(patient.pools()['primary']).toMatchObject({ inUse: 1, open: 1, waiting: 5, max: 1 });
    await held.release();
    await Promise.all(waiting);
    expect(order).toEqual([0, 1, 2, 3, 4]);
    expect(patient.pools()['primary']).toMatchObject({ inUse: 0, open: 1, waiting: 0, max: 1 });
  });

  test('the deadline of the request ends its wait for a connection, and none is lost by that', async () => {
    const database = open({ pool: { max: 1, acquireTimeoutMs: 60_000 } });
    const held = await occupy(database);
    const hurried = Array.from({ length: 3 }, () =>
      runInContext(createContext({ deadlineAtMs: performance.now() + 30 }), () =>
        database.query(sql`select 1`),
      ),
    );
    for (const query of hurried) await expect(query).rejects.toMatchObject({ code: 'PL_DEADLINE' });
    await held.release();
    await expect
      .poll(() => database.pools()['primary'])
      .toMatchObject({ inUse: 0, open: 1, waiting: 0, max: 1 });
    expect(await pidOf(database)).toBe(held.pid);
  });

  test('past its deadline, or without its caller, a request gets no connection and no statement', async () => {
    const database = open({ pool: { max: 1 } });
    const late = createContext({ deadlineAtMs: performance.now() - 1 });
    await expect(runInContext(late, () => database.query(sql`select 1`))).rejects.toMatchObject({
      code: 'PL_DEADLINE',
    });
    const gone = createContext({ signal: AbortSignal.abort() });
    await expect(runInContext(gone, () => database.query(sql`select 1`))).rejects.toMatchObject({
      code: 'PL_ABORTED',
    });
    expect(database.pools()['primary']?.open).toBe(0);

    const caller = new AbortController();
    await expect(
      runInContext(createContext({ signal: caller.signal }), () =>
        database.transaction(async (tx) => {
          await tx.execute(insert('ada'));
          caller.abort();
          await tx.execute(insert('grace'));
        }),
      ),
    ).rejects.toMatchObject({ code: 'PL_ABORTED' });
    expect(await names()).toEqual([]);
    expect(database.pools()['primary']).toMatchObject({ inUse: 0, open: 1 });
  });

  test('callers who go away while they wait cost no connection', async () => {
    const database = open({ pool: { max: 1, acquireTimeoutMs: 60_000 } });
    const held = await occupy(database);
    const caller = new AbortController();
    const context = createContext({ signal: caller.signal });
    const abandoned = runInContext(context, () => [
      database.transaction((tx) => tx.query(sql`select 1`)),
      database.query(sql`select 1`),
    ]);
    caller.abort();
    // Told at once, while the only connection is still held.
    for (const work of abandoned) await expect(work).rejects.toMatchObject({ code: 'PL_ABORTED' });
    await held.release();
    expect(await pidOf(database)).toBe(held.pid);
  });

  test('a statement runs no longer than its limit, and its connection is kept', async () => {
    const database = open({ pool: { max: 1, statementTimeoutMs: 50 } });
    const pid = await pidOf(database);
    await expect(database.query(sql`select pg_sleep(60)`)).rejects.toMatchObject({
      code: 'PL_STATEMENT_TIMEOUT',
      data: { server: 'primary', sqlState: '57014' },
    });
    expect(await pidOf(database)).toBe(pid);
  });

  test('a transaction whose process hangs is ended by the server and tells so', async () => {
    const database = open({ pool: { max: 1, idleInTransactionTimeoutMs: 50 } });
    await expect(
      database.transaction(async (tx) => {
        await tx.execute(insert('ada'));
        const pid = await pidOf(tx);
        await expect
          .poll(() => admin.query(sql`select 1 from pg_stat_activity where pid = ${pid}`), {
            timeout: 10_000,
          })
          .toEqual([]);
        await tx.execute(insert('grace'));
      }),
    ).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
    expect(await names()).toEqual([]);
    expect(await database.one(sql`select 1 as one`)).toEqual({ one: 1 });
  });

  test('limits and names of the options hold in every session', async () => {
    const database = open({
      applicationName: 'limits',
      pool: { statementTimeoutMs: 1_234, idleInTransactionTimeoutMs: 2_345 },
    });
    const settings = sql`
      select current_setting('statement_timeout') as statement, current_setting('application_name') as name,
        current_setting('idle_in_transaction_session_timeout') as idle`;
    const wanted = { statement: '1234ms', name: 'limits', idle: '2345ms' };
    expect(await database.one(settings)).toEqual(wanted);
    expect(await database.readOnly((db) => db.one(settings))).toEqual(wanted);
  });
});

describe('broken connections', () => {
  test('an idle connection that is terminated is reported and replaced', async () => {
    const database = open({ pool: { max: 1 } });
    const reported: { what: string; error: unknown }[] = [];
    const stop = background.subscribe(
      (message) => message.scope === database.scope && reported.push(message),
    );
    try {
      const pid = await pidOf(database);
      await terminate(pid);
      await expect.poll(() => reported.length).toBe(1);
      expect(reported[0]).toMatchObject({ what: 'idle connection to primary', error: { code: '57P01' } });
      expect(await pidOf(database)).not.toBe(pid);
    } finally {
      stop();
    }
  });

  test('all connections terminated in use: every caller is told, and the pool recovers whole', async () => {
    const database = open({ pool: { max: 3 } });
    const blocker = await admin.session();
    try {
      await blocker.query(sql`select pg_advisory_lock(1, 77)`);
      const blocked = Array.from({ length: 3 }, () => database.query(sql`select pg_advisory_lock(1, 77)`));
      const settled = Promise.allSettled(blocked);
      await expect
        .poll(() =>
          admin.query(sql`select 1 from pg_locks where locktype = 'advisory' and objid = 77 and not granted`),
        )
        .toHaveLength(3);
      await admin.query(sql`
        select pg_terminate_backend(pid, 10000) from pg_locks
        where locktype = 'advisory' and objid = 77 and not granted`);
      for (const outcome of await settled)
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'PL_DATABASE_UNAVAILABLE' } });
    } finally {
      await blocker.close();
    }
    const held = await Promise.all([occupy(database), occupy(database), occupy(database)]);
    expect(new Set(held.map(({ pid }) => pid)).size).toBe(3);
    await Promise.all(held.map(({ release }) => release()));
    expect(database.pools()['primary']).toMatchObject({ inUse: 0, waiting: 0 });
  });

  test('terminated between two statements of a transaction: the second is refused, nothing is committed', async () => {
    const database = open({ pool: { max: 1 } });
    await expect(
      database.transaction(async (tx) => {
        await tx.execute(insert('ada'));
        await terminate(await pidOf(tx));
        await tx.execute(insert('grace'));
      }),
    ).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE', retryable: true });
    expect(await names()).toEqual([]);
    expect(await database.one(sql`select 1 as one`)).toEqual({ one: 1 });
    expect(database.pools()['primary']).toMatchObject({ inUse: 0, open: 1 });
  });

  test('a connection known to be broken before COMMIT is sent is no unknown outcome', async () => {
    const database = open({ pool: { max: 1 } });
    await expect(
      database.transaction(async (tx) => {
        await tx.execute(insert('ada'));
        await terminate(await pidOf(tx));
        await expect(tx.query(sql`select 1`)).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
      }),
    ).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
    expect(await names()).toEqual([]);
    expect(database.pools()['primary']?.inUse).toBe(0);
  });

  test('the connection broken during COMMIT: the outcome is unknown and said to be', async () => {
    const database = open({ pool: { max: 1 } });
    const gatekeeper = await admin.session();
    try {
      await gatekeeper.query(sql`select pg_advisory_lock(${4711})`);
      const committing = database.transaction(async (tx) => {
        await tx.execute(insert('ada'));
        await tx.execute(sql`insert into gate (key) values (${4711})`);
      });
      const outcome = committing.catch((error: unknown) => error);
      await terminate(await waitingForLock(4711));
      expect(await outcome).toMatchObject({ code: 'PL_COMMIT_UNKNOWN', retryable: false });
    } finally {
      await gatekeeper.close();
    }
    expect(database.pools()['primary']?.inUse).toBe(0);
    expect(await database.one(sql`select 1 as one`)).toEqual({ one: 1 });
  });

  test('a server that is down, and one that does not answer', async () => {
    const silent = createServer(() => undefined);
    const port = await new Promise<number>((resolve) => {
      silent.listen(0, '127.0.0.1', () => resolve((silent.address() as AddressInfo).port));
    });
    const sockets: { destroy(): void }[] = [];
    silent.on('connection', (socket) => sockets.push(socket));
    const hanging = open({ url: `postgres://someone@127.0.0.1:${port}/db`, pool: { acquireTimeoutMs: 50 } });
    await expect(hanging.query(sql`select 1`)).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));

    const down = open({ url: `postgres://someone@127.0.0.1:${port}/db` });
    const unavailable = {
      code: 'PL_DATABASE_UNAVAILABLE',
      retryable: true,
      data: { sqlState: 'ECONNREFUSED' },
    };
    await expect(down.query(sql`select 1`)).rejects.toMatchObject(unavailable);
    await expect(down.transaction((tx) => tx.query(sql`select 1`))).rejects.toMatchObject(unavailable);
    await expect(down.readOnly((db) => db.query(sql`select 1`))).rejects.toMatchObject(unavailable);
    await expect(down.session()).rejects.toMatchObject(unavailable);
    await expect(down.ping()).rejects.toMatchObject(unavailable);
    expect(down.pools()['primary']).toMatchObject({ inUse: 0, open: 0 });
  });
});

describe('session', () => {
  test('a session lives until it is closed, twice if need be', async () => {
    const database = open();
    const session = await database.session();
    expect(await pidOf(session)).toBe(await pidOf(session));
    await session.close();
    await session.closed;
    await session.close();
    await expect(session.query(sql`select 1`)).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
  });

  test('a session that is terminated resolves `closed`, idle or in use, and ends nothing else', async () => {
    const database = open();
    const idle = await database.session();
    await terminate(await pidOf(idle));
    await idle.closed;
    await idle.close();

    const gatekeeper = await admin.session();
    await gatekeeper.query(sql`select pg_advisory_lock(${4713})`);
    const busy = await database.session();
    const query = busy.query(sql`select pg_advisory_lock(${4713})`).catch((error: unknown) => error);
    await terminate(await waitingForLock(4713));
    await busy.closed;
    expect(await query).toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
    await gatekeeper.close();
  });

  test('rows of a session look like those of a pool', async () => {
    const database = open();
    await using stack = new AsyncDisposableStack();
    const session = await database.session();
    stack.defer(() => session.close());
    const statement = sql`select 1::int8 as big, 1.10::numeric as exact, count(*) from account`;
    expect(await session.one(statement)).toEqual(await database.one(statement));
    await expect(session.one(sql`select 9223372036854775807 as n`)).rejects.toMatchObject({
      code: 'PL_INT8_UNSAFE',
    });
  });
});

describe('the end', () => {
  test('closing twice, or by disposal, is the same as once', async () => {
    const database = open({ applicationName: 'closing' });
    await database.query(sql`select 1`);
    await Promise.all([database.close(), database.close()]);
    await database.close();
    await database[Symbol.asyncDispose]();
    await expect
      .poll(() => admin.query(sql`select 1 from pg_stat_activity where application_name = 'closing'`))
      .toEqual([]);
    await expect(database.query(sql`select 1`)).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
  });

  test('closing waits for what is under way', async () => {
    const database = open({ pool: { max: 1 } });
    const held = await occupy(database);
    let closed = false;
    const closing = database.close().then(() => {
      closed = true;
    });
    expect(await names()).toEqual([]);
    expect(closed).toBe(false);
    await held.release();
    await closing;
    expect(closed).toBe(true);
  });
});

test('what the page shows', async () => {
  const { url: primaryUrl, replicaUrls } = server;
  const created: string[] = [];
  // #region create
  await using database = createDatabase({ url: primaryUrl, replicaUrls, pool: { max: 20 } });
  await database.execute(sql`insert into account (name, balance) values (${'ada'}, ${100})`);
  // #endregion
  created.push(...(await names()));
  expect(created).toEqual(['ada']);
  // #region read-only
  const rich = await database.readOnly((db) => db.query(sql`select name from account where balance > ${50}`));
  // #endregion
  expect(rich.length).toBeLessThanOrEqual(1);
  const [columns, sought] = [['name', 'balance'] as const, ['ada', 'grace']];
  // #region fragments
  const byName = sql`where name in (${sql.join(sought.map((name) => sql`${name}`))})`;
  const shown = sql.join(columns.map((column) => sql.id('account', column)));
  const found = await database.query(sql`select ${shown} from account ${byName} limit ${10}`);
  // #endregion
  expect(found).toEqual([{ name: 'ada', balance: 100 }]);
});
