import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { command, contract, createApp, event, module, plan, query, sql, type App } from '../index.ts';
import { createDatabase, type Queryable } from '../database/index.ts';
import { trustedSql, type Sql } from '../database/sql.ts';
import { drizzleOn } from '../drizzle/index.ts';
import { sql as drizzleSql } from 'drizzle-orm';
import { systemClock } from '../kernel/clock.ts';
import { queries } from '../kernel/channels.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { kysely } from '../kysely/index.ts';
import type { CommandContext } from '../modules/module.ts';
import { untilIdle } from '../testing/until-idle.ts';

let server: TestDatabase;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  await using database = createDatabase({ url: server.url });
  await database.execute(
    trustedSql(`
      create schema stock;
      create table stock.items (sku text primary key, available int not null);
      create schema sales;
      create table sales.orders (id int generated always as identity, note text, by_role text default current_user);
      create function sales.peek(name text) returns bigint language plpgsql as $$
        declare found bigint;
        begin execute format('select count(*) from %s', name) into found; return found; end $$;
      create function sales.fail() returns int language plpgsql as $$
        begin raise insufficient_privilege using message = 'not you'; end $$;`),
  );
});
beforeEach(async () => {
  await using database = createDatabase({ url: server.url });
  await database.execute(sql`truncate stock.items, sales.orders`);
});
afterAll(async () => {
  await server.drop();
  // Roles belong to the server and outlive the database.
  await using database = createDatabase({ url: inject('cluster').primaryUrl });
  for (const name of ['sales', 'stock'])
    await database.execute(sql`drop role if exists ${sql.id(`plimsoll.${server.name}.${name}`)}`);
});

const sales = contract('sales', {
  write: command({ input: z.object({}), output: z.unknown(), errors: { Refused: z.object({}) } }),
  writeLater: command({ input: z.object({}) }),
  read: query({ input: z.object({}), output: z.unknown() }),
  wrote: event({ payload: z.object({}) }),
});
const stock = contract('stock', { count: query({ input: z.object({}), output: z.number() }) });

type Write = Pick<
  CommandContext<'sales' | 'stock', 'sales', { Refused: z.ZodObject }>,
  'tx' | 'emit' | 'enqueue' | 'external' | 'fail' | 'call'
>;
/** What the handlers of `sales` do. */
let write: (context: Write) => Promise<unknown>;
let read: (db: Queryable) => Promise<unknown>;
let later: (context: Pick<Write, 'tx'>) => Promise<unknown>;

const modules = [
  module(sales, {
    owns: { schema: 'sales' },
    uses: [stock],
    commands: {
      write: (_input, context) => write(context as unknown as Write) as never,
      async writeLater(_input, { tx }) {
        await later({ tx });
      },
    },
    queries: { read: (_input, { db }) => read(db) },
    on: (on) => [
      on(sales.wrote, { name: 'react', maxAttempts: 1 }, async (_event, { tx }) => {
        await later({ tx });
      }),
    ],
  }),
  module(stock, {
    owns: { schema: 'stock' },
    queries: {
      count: async (_input, { db }) =>
        (await db.one<{ n: number }>(sql`select count(*)::int as n from stock.items`)).n,
    },
  }),
];

interface StartOptions {
  readonly roles?: boolean;
  readonly replicaUrls?: readonly string[];
  readonly statements?: 'refuse' | 'report' | 'off';
  readonly databaseUrl?: string;
}

/** With one connection for writes and one for reads, so that each statement meets what the last one left. */
async function start(options: StartOptions = {}): Promise<App> {
  const { roles = true, replicaUrls = [], statements, databaseUrl = server.url } = options;
  const app = createApp(
    plan({
      name: 'walled',
      modules,
      database: { pool: { max: 1 } },
      worker: { concurrency: 1, pollMs: 20 },
      boundaries: { roles, ...(statements === undefined ? {} : { statements }) },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 100, errorRate: 0.01 } },
    }),
    { databaseUrl, replicaUrls, listen: false },
  );
  await app.start();
  return app;
}

const salesRole = (): string => `plimsoll.${server.name}.sales`;
const whoami = sql`select current_user::text as role, current_setting('transaction_read_only') as "readOnly"`;
const peek = (table: string): Sql => sql`select sales.peek(${table}) as n`;
const notes = (app: App): Promise<unknown[]> =>
  app.database.query(sql`select note, by_role as role from sales.orders order by id`);

/** What the connections of the pools are when nothing runs: one each, by `max`. */
async function idleRoles(app: App): Promise<readonly unknown[]> {
  const inTransaction = sql`select current_user = session_user as own, now() <> statement_timestamp() as open`;
  return [
    await app.database.one(inTransaction),
    await app.database.readOnly((db) => db.one(inTransaction), { consistency: 'strong' }),
    await app.database.readOnly((db) => db.one(inTransaction)),
  ];
}
const own = { own: true, open: false };

async function textsOf(app: App, work: () => Promise<unknown>): Promise<readonly string[]> {
  const texts: string[] = [];
  const stop = queries.subscribe(({ scope, text, operation }) => {
    if (scope === app.database.scope && operation?.startsWith('sales.') === true) texts.push(text.trim());
  });
  await work().finally(stop);
  return texts;
}

describe('a table that a function reaches by dynamic SQL', () => {
  const foreign = async (app: App): Promise<readonly unknown[]> => {
    write = ({ tx }) => tx.one(peek('stock.items'));
    read = (db) => db.one(peek('stock.items'));
    return Promise.all(
      [app.call(sales.write, {}), app.call(sales.read, {})].map((call) => call.catch(asData)),
    );
  };
  const asData = (error: unknown): unknown => error;

  test('is reached without roles: no other layer can see it', async () => {
    await using app = await start({ roles: false });
    expect(await foreign(app)).toEqual([{ ok: true, value: { n: 0 } }, { n: 0 }]);
  });

  test('is refused with them, in commands and queries, and the error says where', async () => {
    await using app = await start();
    const [command, query] = await foreign(app);
    for (const [error, operation] of [
      [command, 'sales.write'],
      [query, 'sales.read'],
    ])
      expect(error).toMatchObject({
        code: 'PL_FOREIGN_TABLE',
        data: { operation, module: 'sales', role: salesRole() },
        cause: expect.objectContaining({
          code: '42501',
          message: 'permission denied for schema stock',
        }) as object,
        message: expect.stringMatching(
          /^sales\.(write|read) touches what its module does not own; PostgreSQL says to the role "plimsoll\..+\.sales": permission denied for schema stock, in select count\(\*\) from stock\.items, PL\/pgSQL function sales\.peek\(text\) line 3 at EXECUTE: call the owner.*select sales\.peek/,
        ) as string,
      });
  });

  test('is read where it is the module’s own', async () => {
    await using app = await start();
    write = ({ tx }) => tx.one(peek('sales.orders'));
    expect(await app.call(sales.write, {})).toEqual({ ok: true, value: { n: 0 } });
  });
});

test('handlers write as their role, the runtime as the user of the connection', async () => {
  await using app = await start();
  write = async ({ tx, emit, enqueue, external }) => {
    const paid = await external('bank', 'o1', () => Promise.resolve('paid'));
    await tx.execute(sql`insert into sales.orders (note) values (${`command ${paid}`})`);
    emit(sales.wrote, {});
    enqueue(sales.writeLater, {});
  };
  later = ({ tx }) => tx.execute(sql`insert into sales.orders (note) values ('later')`);
  await app.call(sales.write, {});
  await untilIdle(app);
  expect(await notes(app)).toEqual(
    ['command paid', 'later', 'later'].map((note) => ({ note, role: salesRole() })),
  );
  expect(await app.taskCounts()).toMatchObject({ parked: 0 });
  expect(await app.database.query(sql`select state from plimsoll.external`)).toEqual([{ state: 'done' }]);
  expect(await app.database.query(sql`select from plimsoll.inbox`)).toHaveLength(1);
  expect(await idleRoles(app)).toEqual([own, own, own]);
});

test.each(['subscription', 'job'])('a %s that touches what is not its own is refused', async (kind) => {
  await using app = await start();
  const errors: unknown[] = [];
  write = ({ emit, enqueue }) => {
    if (kind === 'job') enqueue(sales.writeLater, {});
    else emit(sales.wrote, {});
    return Promise.resolve();
  };
  const tried = Promise.withResolvers<void>();
  later = async ({ tx }) => {
    await tx.execute(sql`insert into sales.orders (note) values ('gone')`);
    await tx.one(peek('stock.items')).catch((error: unknown) => {
      errors.push(error);
      tried.resolve();
      throw error;
    });
  };
  await app.call(sales.write, {});
  await tried.promise;
  expect(errors[0]).toMatchObject({ code: 'PL_FOREIGN_TABLE' });
  await app.database.execute(sql`delete from plimsoll.task`);
  expect(await notes(app)).toEqual([]);
});

test('the role is set with BEGIN, once, and given back only when the runtime writes', async () => {
  await using app = await start();
  const begin = `begin; set local role "${salesRole()}"`;
  write = async ({ tx }) => {
    await Promise.all([tx.query(sql`select 1`), tx.query(sql`select 2`)]);
  };
  expect(await textsOf(app, () => app.call(sales.write, {}))).toEqual([begin, 'select 1', 'select 2']);
  later = () => Promise.resolve();
  write = async ({ tx, enqueue }) => {
    await tx.query(sql`select 1`);
    enqueue(sales.writeLater, {}, { delayMs: 3_600_000 });
  };
  expect(await textsOf(app, () => app.call(sales.write, {}))).toEqual([
    begin,
    'select 1',
    'set local role to default',
    expect.stringMatching(/^with enqueued/),
  ]);
  read = (db) => db.query(sql`select 1`);
  expect(await textsOf(app, () => app.call(sales.read, {}))).toEqual([
    `begin read only; set local role "${salesRole()}"`,
    'select 1',
  ]);
});

test('a handler that sends no statement begins nothing and sets no role', async () => {
  await using app = await start();
  write = () => Promise.resolve();
  expect(await textsOf(app, () => app.call(sales.write, {}))).toEqual([]);
  later = () => Promise.resolve();
  write = ({ enqueue }) => {
    enqueue(sales.writeLater, {}, { delayMs: 3_600_000 });
    return Promise.resolve();
  };
  expect(await textsOf(app, () => app.call(sales.write, {}))).toEqual([
    'begin',
    expect.stringMatching(/^with enqueued/),
  ]);
});

test('without roles nothing is added', async () => {
  await using app = await start({ roles: false });
  write = ({ tx }) => tx.query(sql`select 1`);
  read = (db) => db.query(sql`select 1`);
  expect(await textsOf(app, () => app.call(sales.write, {}))).toEqual(['begin', 'select 1']);
  expect(await textsOf(app, () => app.call(sales.read, {}))).toEqual(['select 1']);
});

describe('a read', () => {
  test('runs as the role and cannot write, on a replica and strong on the primary', async () => {
    await using app = await start({ replicaUrls: server.replicaUrls });
    const where = sql`select current_user::text as role, current_setting('transaction_read_only') as "readOnly", pg_is_in_recovery() as replica`;
    read = (db) => db.one(where);
    // The role was made a moment ago; the replica shows it when it has replayed that.
    await expect
      .poll(() => app.call(sales.read, {}).catch(() => undefined), { timeout: 20_000 })
      .toEqual({
        role: salesRole(),
        readOnly: 'on',
        replica: true,
      });
    expect(await runInContext(createContext({ strong: true }), () => app.call(sales.read, {}))).toEqual({
      role: salesRole(),
      readOnly: 'on',
      replica: false,
    });
    read = (db) => db.one(peek('stock.items'));
    await expect(app.call(sales.read, {})).rejects.toMatchObject({ code: 'PL_FOREIGN_TABLE' });
    expect(await idleRoles(app)).toEqual([own, own, own]);
  });

  test('of another module runs as the role of that module', async () => {
    await using app = await start();
    write = ({ call }) => call(stock.count, {});
    expect(await app.call(sales.write, {})).toEqual({ ok: true, value: 0 });
  });
});

describe('after its transaction a connection is its user’s again', () => {
  const slow = sql`select pg_sleep(30)`;
  const soon = <T>(work: () => Promise<T>): Promise<T> => {
    const context = createContext({ deadlineAtMs: systemClock.monotonicMs() + 300 });
    return runInContext(context, work);
  };
  test.each<[string, (context: Write) => Promise<unknown>, unknown]>([
    ['a commit', ({ tx }) => tx.query(whoami), undefined],
    [
      'an error',
      async ({ tx }) => {
        await tx.query(whoami);
        throw new Error('no');
      },
      { message: 'no' },
    ],
    [
      'a declared error',
      async ({ tx, fail }) => {
        await tx.query(whoami);
        return fail('Refused', {});
      },
      undefined,
    ],
    ['a failed statement', ({ tx }) => tx.query(sql`select 1 / 0`), { code: '22012' }],
    [
      'a failure that was swallowed',
      ({ tx }) => tx.query(sql`select 1 / 0`).catch(() => undefined),
      { code: 'PL_TRANSACTION_ABORTED' },
    ],
    ['a cancelled statement', ({ tx }) => tx.query(slow), { code: 'PL_DEADLINE' }],
  ])('%s', async (_what, run, failure) => {
    await using app = await start();
    write = run;
    read = (db) => run({ tx: db, fail: () => undefined } as unknown as Write);
    const command = soon(() => app.call(sales.write, {}));
    await (failure === undefined ? command : expect(command).rejects.toMatchObject(failure as object));
    expect(await idleRoles(app)).toEqual([own, own, own]);
    await soon(() => app.call(sales.read, {})).catch(() => undefined);
    expect(await idleRoles(app)).toEqual([own, own, own]);
    write = ({ tx }) => tx.one(whoami);
    expect(await app.call(sales.write, {})).toEqual({
      ok: true,
      value: { role: salesRole(), readOnly: 'off' },
    });
  });
});

test('a user who works as another role gets that one back, not its own', async () => {
  const login = `login of ${server.name}`;
  await using admin = createDatabase({ url: server.url });
  await admin.execute(
    trustedSql(`
      create role "${login}" login noinherit password 'secret';
      do $$ begin execute format('grant %I to %I; alter role %I set role = %I', current_user, '${login}', '${login}', current_user); end $$`),
  );
  const url = new URL(server.url);
  url.username = encodeURIComponent(login);
  url.password = 'secret';
  try {
    await using app = await start({ databaseUrl: url.href });
    write = async ({ tx, enqueue }) => {
      enqueue(sales.writeLater, {}, { delayMs: 3_600_000 });
      return tx.one(whoami);
    };
    expect(await app.call(sales.write, {})).toMatchObject({ value: { role: salesRole() } });
  } finally {
    await admin.execute(trustedSql(`drop owned by "${login}"; drop role "${login}"`));
  }
});

test('a savepoint that is rolled back leaves the role', async () => {
  await using app = await start();
  write = async ({ tx }) => {
    await tx.execute(sql`savepoint here`);
    await tx.one(peek('stock.items')).catch(() => undefined);
    await tx.execute(sql`rollback to savepoint here`);
    return tx.one(whoami);
  };
  expect(await app.call(sales.write, {})).toMatchObject({ value: { role: salesRole() } });
});

test.each(['refuse', 'report'] as const)(
  'a statement that changes the role or ends the transaction is refused (%s)',
  async (statements) => {
    await using app = await start({ statements });
    for (const text of [
      'reset role',
      'set role none',
      `set local role "${salesRole()}"`,
      'set session authorization default',
      `select set_config('role', 'none', true)`,
      'commit',
      'select 1; rollback',
    ]) {
      write = ({ tx }) => tx.execute(trustedSql(text));
      read = (db) => db.execute(trustedSql(text));
      const refusal = {
        code: 'PL_FOREIGN_TABLE',
        message: expect.stringContaining('changes its role') as string,
      };
      await expect(app.call(sales.write, {})).rejects.toMatchObject(refusal);
      await expect(app.call(sales.read, {})).rejects.toMatchObject(refusal);
    }
  },
);

test('a statement sent after the handler has returned does not run as the user of the connection', async () => {
  await using app = await start();
  let late: Promise<unknown> | undefined;
  write = async ({ tx, enqueue }) => {
    await tx.query(whoami);
    enqueue(sales.writeLater, {}, { delayMs: 3_600_000 });
    // Told when the runtime has given the role back, and its own statement and COMMIT are still to come.
    const stop = queries.subscribe(({ scope, text }) => {
      if (scope !== app.database.scope || text !== 'set local role to default') return;
      stop();
      late = tx.one(whoami).catch((error: unknown) => error);
    });
  };
  await app.call(sales.write, {});
  expect(await late).toMatchObject({ code: 'PL_TRANSACTION_ENDED' });
});

test('a first statement that the handler does not await runs as the role all the same', async () => {
  await using app = await start();
  let sent: Promise<unknown> | undefined;
  write = ({ tx }) => {
    sent = tx.execute(sql`insert into sales.orders (note) values ('not awaited')`);
    return Promise.resolve();
  };
  await app.call(sales.write, {});
  await sent;
  expect(await notes(app)).toEqual([{ note: 'not awaited', role: salesRole() }]);
});

test('a refusal that is not one of the wall keeps its own error', async () => {
  await using app = await start();
  write = ({ tx }) => tx.query(sql`select sales.fail()`);
  await expect(app.call(sales.write, {})).rejects.toMatchObject({ code: '42501', message: 'not you' });
});

test('Kysely and Drizzle on a handler’s transaction run as the role', async () => {
  await using app = await start();
  const who = drizzleSql`select current_user::text as role, sales.peek('sales.orders') as n`;
  write = async ({ tx }) => {
    const roles = await kysely<{ 'sales.orders': { by_role: string | null } }>(tx)
      .insertInto('sales.orders')
      .defaultValues()
      .returning('by_role')
      .execute();
    const { rows } = await drizzleOn(tx).execute(who);
    return [roles[0]?.by_role, (rows[0] as { role: string }).role];
  };
  expect(await app.call(sales.write, {})).toEqual({ ok: true, value: [salesRole(), salesRole()] });
  write = ({ tx }) => drizzleOn(tx).execute(drizzleSql`select sales.peek('stock.items')`) as Promise<unknown>;
  await expect(app.call(sales.write, {})).rejects.toMatchObject({ code: 'PL_FOREIGN_TABLE' });
});
