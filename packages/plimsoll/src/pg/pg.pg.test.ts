import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { sqlState } from '../database/failures.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { systemClock } from '../kernel/clock.ts';
import { completeTask, insertTasks, type ClaimedTask } from '../durable/task.ts';
import { createWorker } from '../durable/worker.ts';
import { jobMigrations } from '../durable/migrations.ts';
import { newJob } from '../jobs/job.ts';
import { insertEvents, insertInbox, type RecordedEvent } from '../outbox/events.ts';
import { outboxMigrations } from '../outbox/migrations.ts';
import { createRelay } from '../outbox/relay.ts';
import { fromClient } from './from-client.ts';
import { fromPool } from './from-pool.ts';

let server: TestDatabase;
let pool: pg.Pool;
let replica: pg.Pool;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  pool = new pg.Pool({ connectionString: server.url, max: 4 });
  replica = new pg.Pool({ connectionString: server.replicaUrls[0]!, max: 2 });
  await pool.query(
    'create table note (id bigint primary key generated always as identity, text text unique)',
  );
  await migrate(fromPool(pool), [jobMigrations, outboxMigrations]);
});
afterAll(async () => {
  await pool.end();
  await replica.end();
  await server.drop();
});

const count = async (text: string): Promise<number> =>
  (await pool.query<{ n: number }>('select count(*)::int as n from note where text = $1', [text])).rows[0]!.n;

const placed = (text: string): Parameters<typeof insertEvents>[0][number] => ({
  type: 'note.written',
  version: 1,
  key: text,
  correlationId: 'request-7',
  causationId: undefined,
  caller: {},
  payload: { text },
});

describe('fromPool', () => {
  test('queries and commits on the pool of the user, and rolls back when the function rejects', async () => {
    const database = fromPool(pool);
    await database.transaction((tx) => tx.execute(sql`insert into note (text) values ('kept')`));
    const refused = database.transaction(async (tx) => {
      await tx.execute(sql`insert into note (text) values ('gone')`);
      throw new Error('no');
    });
    await expect(refused).rejects.toThrow('no');
    expect([await count('kept'), await count('gone')]).toEqual([1, 0]);
    const hostile = sql`select text from note where text = ${"kept'; drop table note --"}`;
    expect(await database.maybeOne(hostile)).toBeUndefined();
    expect(await count('kept')).toBe(1);
  });

  test("the user's parsers stay: int8 is a string as pg gives it, or what the user's pool makes of it", async () => {
    const bigints = new pg.Pool({
      connectionString: server.url,
      max: 1,
      types: {
        getTypeParser: (oid: number, format?: 'text') =>
          oid === pg.types.builtins.INT8 ? BigInt : pg.types.getTypeParser(oid, format),
      } as pg.CustomTypesConfig,
    });
    try {
      const statement = sql`select 9007199254740993::int8 as big, 1::int4 as small`;
      expect(await fromPool(pool).one(statement)).toEqual({ big: '9007199254740993', small: 1 });
      expect(await fromPool(bigints).one(statement)).toEqual({ big: 9007199254740993n, small: 1 });
    } finally {
      await bigints.end();
    }
  });

  test('readOnly reads the replica; strong reads the primary, where the server refuses to write', async () => {
    await using database = fromPool(pool, { replicas: [replica] });
    await database.ping();
    const standby = sql`select pg_is_in_recovery() as replica`;
    expect(await database.readOnly((db) => db.one(standby))).toEqual({ replica: true });
    expect(await database.readOnly((db) => db.one(standby), { consistency: 'strong' })).toEqual({
      replica: false,
    });
    const write = sql`insert into note (text) values ('by mistake')`;
    for (const options of [{ consistency: 'strong' }, {}] as const) {
      const writing = database.readOnly((db) => db.execute(write), options);
      expect(sqlState(await writing.catch((error: unknown) => error))).toBe('25006');
    }
    // Without replicas, readOnly is the primary: the sessions are the user's, so each read has its transaction.
    const alone = fromPool(pool);
    expect(sqlState(await alone.readOnly((db) => db.execute(write)).catch((error: unknown) => error))).toBe(
      '25006',
    );
    expect(await alone.readOnly((db) => db.one(standby))).toEqual({ replica: false });
    await alone.execute(sql`insert into note (text) values ('after reading')`);
  });

  test('a failed read on the primary does not spoil the next one of the same function', async () => {
    const rows = await fromPool(pool).readOnly(async (db) => {
      await db.query(sql`select * from no_such_table`).catch(() => undefined);
      return db.query(sql`select 1 as one`);
    });
    expect(rows).toEqual([{ one: 1 }]);
  });

  test('a program that ends its pools ends, though nobody closed the database', async () => {
    const program = `
      import pg from 'pg';
      import { fromPool } from 'plimsoll/pg';
      import { sql } from 'plimsoll/database';
      const [pool, replica] = process.argv.slice(1).map((connectionString) => new pg.Pool({ connectionString }));
      const database = fromPool(pool, { replicas: [replica] });
      await database.ping();
      console.log(await database.readOnly((db) => db.one(sql\`select 1 as one\`)));
      await Promise.all([pool.end(), replica.end()]);`;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [
        '--conditions=plimsoll:source',
        '--input-type=module',
        '-e',
        program,
        server.url,
        server.replicaUrls[0]!,
      ],
      // Long before what watches would end by itself.
      { timeout: 20_000, cwd: import.meta.dirname },
    );
    expect(stdout).toBe('{ one: 1 }\n');
  });

  test('replicas share the reads, pools are told by name, ping asks all, close leaves the pools open', async () => {
    const second = new pg.Pool({ connectionString: server.replicaUrls[0]!, application_name: 'second' });
    const database = fromPool(pool, { replicas: [replica, second] });
    try {
      await database.ping();
      const name = sql`select current_setting('application_name') as name`;
      const names = new Set<unknown>();
      await expect
        .poll(async () => names.add((await database.readOnly((db) => db.one(name)))['name']).size, {
          timeout: 10_000,
        })
        .toBe(2);
      expect(names).toContain('second');
      expect(Object.keys(database.pools())).toEqual(['primary', 'replica-1', 'replica-2']);
      expect(database.pools()['primary']).toMatchObject({ max: 4, waiting: 0, inUse: 0 });
      await database.close();
      expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
      expect((await second.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    } finally {
      await second.end();
    }
  });

  test('a session takes no slot of the pool, and its end is told', async () => {
    const one = new pg.Pool({ connectionString: server.url, max: 1 });
    const database = fromPool(one);
    const session = await database.session();
    try {
      const { pid } = await session.one<{ pid: number }>(sql`select pg_backend_pid() as pid`);
      expect(database.pools()['primary']).toMatchObject({ open: 0 });
      await database.execute(sql`select pg_terminate_backend(${pid})`);
      await session.closed;
    } finally {
      await session.close();
      await one.end();
    }
  });

  test('a checked-out client whose backend is ended does not end the process, and leaves the pool', async () => {
    const one = new pg.Pool({ connectionString: server.url, max: 1 });
    one.on('error', () => undefined);
    const database = fromPool(one);
    try {
      const broken = database.transaction(async (tx) => {
        const { pid } = await tx.one<{ pid: number }>(sql`select pg_backend_pid() as pid`);
        await pool.query('select pg_terminate_backend($1)', [pid]);
        // The end of the socket reaches the client while no statement runs on it.
        await expect
          .poll(() =>
            tx.query(sql`select 1`).then(
              () => 'alive',
              () => 'gone',
            ),
          )
          .toBe('gone');
        await tx.query(sql`select 1`);
      });
      await expect(broken).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
      expect(await database.one(sql`select 1 as one`)).toEqual({ one: 1 });
      expect(database.pools()['primary']).toMatchObject({ inUse: 0, open: 1 });
    } finally {
      await one.end();
    }
  });

  test('our listeners on a client of the user go when it goes back', async () => {
    const one = new pg.Pool({ connectionString: server.url, max: 1 });
    const listeners = async (): Promise<number> => {
      const client = await one.connect();
      const n = client.listenerCount('error');
      client.release();
      return n;
    };
    try {
      const before = await listeners();
      for (let n = 0; n < 5; n += 1) await fromPool(one).query(sql`select 1`);
      expect(await listeners()).toBe(before);
    } finally {
      await one.end();
    }
  });

  test('a full pool: the deadline of the caller ends the wait, and the connection goes back', async () => {
    const one = new pg.Pool({ connectionString: server.url, max: 1 });
    const database = fromPool(one);
    const held = await one.connect();
    try {
      const context = createContext({ deadlineAtMs: systemClock.monotonicMs() + 50 });
      const waiting = runInContext(context, () => database.query(sql`select 1`));
      await expect(waiting).rejects.toMatchObject({ code: 'PL_DEADLINE' });
      held.release();
      expect(await database.query(sql`select 1 as one`)).toEqual([{ one: 1 }]);
      await expect.poll(() => database.pools()['primary']!.inUse).toBe(0);
    } finally {
      await one.end();
    }
  });

  test('a statement that the deadline finds running is cancelled on the server, and its transaction rolls back', async () => {
    const context = createContext({ deadlineAtMs: systemClock.monotonicMs() + 300 });
    const sleeping = runInContext(context, () =>
      fromPool(pool).transaction(async (tx) => {
        await tx.execute(sql`insert into note (text) values ('too late')`);
        await tx.query(sql`select pg_sleep(60)`);
      }),
    );
    await expect(sleeping).rejects.toMatchObject({ code: 'PL_DEADLINE' });
    const { rows } = await pool.query(
      `select query from pg_stat_activity where datname = current_database() and state = 'active' and query = 'select pg_sleep(60)'`,
    );
    expect(rows).toEqual([]);
    expect(await count('too late')).toBe(0);
  });

  test("a full pool with a limit of the user's own is PL_POOL_TIMEOUT", async () => {
    const one = new pg.Pool({ connectionString: server.url, max: 1, connectionTimeoutMillis: 1_000 });
    const held = await one.connect();
    try {
      await expect(fromPool(one).query(sql`select 1`)).rejects.toMatchObject({ code: 'PL_POOL_TIMEOUT' });
    } finally {
      held.release();
      await one.end();
    }
  });
});

describe('fromClient', () => {
  test("an event exists exactly when the user's own transaction commits", async () => {
    const events = async (): Promise<number> =>
      (
        await pool.query<{ n: number }>(
          `select count(*)::int as n from plimsoll.outbox where key like 'client%'`,
        )
      ).rows[0]!.n;
    const client = await pool.connect();
    try {
      await client.query('begin');
      await client.query(`insert into note (text) values ('client rolled back')`);
      await fromClient(client).execute(insertEvents([placed('client rolled back')]));
      await client.query('rollback');
      expect([await count('client rolled back'), await events()]).toEqual([0, 0]);

      await client.query('begin');
      await client.query(`insert into note (text) values ('client committed')`);
      expect(await fromClient(client).execute(insertEvents([placed('client committed')]))).toBe(1);
      // Not there for anybody else before the commit.
      expect(await events()).toBe(0);
      await client.query('commit');
      expect([await count('client committed'), await events()]).toEqual([1, 1]);
    } finally {
      client.release();
      await pool.query(`delete from plimsoll.outbox`);
    }
  });

  test('a client without a transaction, and a pool, are refused before anything is written', async () => {
    const client = await pool.connect();
    try {
      const tx = fromClient(client);
      expect(tx.begun).toBe(true);
      await expect(tx.execute(insertEvents([placed('autocommit')]))).rejects.toMatchObject({
        code: 'PL_NO_TRANSACTION',
      });
      const asPool = fromClient(pool as unknown as pg.ClientBase);
      await expect(asPool.execute(insertEvents([placed('pool')]))).rejects.toMatchObject({
        code: 'PL_NO_TRANSACTION',
      });
      expect((await pool.query('select 1 from plimsoll.outbox')).rowCount).toBe(0);
    } finally {
      client.release();
    }
  });

  test('statements started together run one after the other; an SQLSTATE stays readable', async () => {
    const client = await pool.connect();
    try {
      await client.query('begin');
      const tx = fromClient(client);
      const rows = await Promise.all([1, 2, 3].map((n) => tx.one<{ n: number }>(sql`select ${n}::int as n`)));
      expect(rows).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
      await tx.execute(sql`insert into note (text) values ('twice')`);
      const again = await tx
        .execute(sql`insert into note (text) values ('twice')`)
        .catch((error: unknown) => error);
      expect(again).toMatchObject({ code: '23505', constraint: 'note_text_key' });
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});

test('outbox and jobs run end to end on a pool of the user, whatever its parsers make of int8 and dates', async () => {
  const own = new pg.Pool({
    connectionString: server.url,
    max: 3,
    types: {
      getTypeParser: (oid: number, format?: 'text') => {
        if (oid === pg.types.builtins.INT8) return BigInt;
        if (oid === pg.types.builtins.NUMERIC) return Number;
        if (oid === pg.types.builtins.TIMESTAMPTZ) return String;
        return pg.types.getTypeParser(oid, format);
      },
    } as pg.CustomTypesConfig,
  });
  const database = fromPool(own);
  const seen: string[] = [];
  const finish = async (task: ClaimedTask, text: string): Promise<void> => {
    await database.transaction(async (tx) => {
      await tx.execute(sql`insert into note (text) values (${text})`);
      if ((await tx.execute(completeTask(task))) !== 1) throw new Error('another worker has this task');
    });
    seen.push(text);
  };
  const worker = createWorker({
    database,
    handlers: new Map([
      [
        'notes.echo',
        async (task: ClaimedTask) => {
          const event = task.payload as RecordedEvent & { payload: { text: string } };
          expect(await database.transaction((tx) => tx.execute(insertInbox(task.name, event)))).toBe(1);
          await finish(task, `echo of ${event.payload.text} at ${event.position}`);
        },
      ],
      ['notes.later', (task: ClaimedTask) => finish(task, (task.payload as { text: string }).text)],
    ]),
  });
  const relay = createRelay({
    database,
    modules: ['notes'],
    subscriptions: [{ name: 'notes.echo', module: 'notes', eventType: 'note.written', maxAttempts: 3 }],
    onMoved: worker.wake,
  });
  try {
    await relay.start();
    await worker.start();
    // The user's own transaction, on the user's own client.
    const client = await own.connect();
    try {
      await client.query('begin');
      const tx = fromClient(client);
      await tx.execute(insertEvents([placed('hello')]));
      const job = newJob(createContext(), {
        id: randomUUID(),
        name: 'notes.later',
        input: { text: 'a job' },
      });
      await tx.execute(insertTasks([job]));
      await client.query('commit');
    } finally {
      client.release();
    }
    relay.wake();
    worker.wake();
    await expect.poll(() => seen.toSorted(), { timeout: 10_000 }).toEqual(['a job', 'echo of hello at 1']);
    expect([await count('a job'), await count('echo of hello at 1')]).toEqual([1, 1]);
    expect((await own.query('select 1 from plimsoll.task')).rowCount).toBe(0);
  } finally {
    await worker.stop();
    await relay.stop();
    await own.end();
  }
});
