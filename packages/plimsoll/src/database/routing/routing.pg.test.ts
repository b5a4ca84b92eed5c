import { startCluster, type Cluster, type Replica, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { routes, type RouteMessage } from '../../kernel/channels.ts';
import { createContext, runInContext } from '../../kernel/context.ts';
import { parseLsn, Seen } from '../../kernel/seen.ts';
import { createDatabase, type Database, type DatabaseOptions } from '../database.ts';
import { sqlState } from '../failures.ts';
import { migrate } from '../migrate.ts';
import { sql, trustedSql } from '../sql.ts';
import { startRelay } from './fixtures/relay.ts';
import { routingMigrations } from './migrations.ts';

let cluster: Cluster;
let one: Replica;
let two: Replica;
let server: TestDatabase;
let admin: Database;
const opened: Database[] = [];

beforeAll(async () => {
  cluster = await startCluster({ replicas: 2, settings: { max_standby_streaming_delay: '200ms' } });
  [one, two] = cluster.replicas as [Replica, Replica];
  server = await cluster.createDatabase();
  admin = createDatabase({ url: server.url, applicationName: 'admin' });
  await migrate(admin, [routingMigrations]);
  await admin.execute(sql`create table note (id int primary key, text text not null default '')`);
  await admin.execute(sql`insert into note select n, 'x' from generate_series(1, 100) n`);
}, 60_000);
beforeEach(async () => {
  await Promise.all(cluster.replicas.map((replica) => replica.caughtUp()));
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((database) => database.close()));
  for (const replica of cluster.replicas) {
    if (!replica.running) await replica.restart();
    await replica.resume();
    await replica.lag(0);
  }
});
afterAll(async () => {
  await admin?.close();
  await cluster?.stop();
});

/** Watched by many other programs here: polls may be late without anything being wrong. */
const patient = { pollTimeoutMs: 2_000 };

async function open(options: Partial<DatabaseOptions> = {}): Promise<Database> {
  const { routing, ...rest } = options;
  const database = createDatabase({
    url: server.url,
    replicaUrls: server.replicaUrls,
    applicationName: 'routed',
    ...rest,
    routing: { ...patient, ...routing },
  });
  opened.push(database);
  await database.ping();
  return database;
}

/** What the database tells of the reads while `run` runs. */
async function routesOf(database: Database, run: () => Promise<unknown>): Promise<RouteMessage[]> {
  const told: RouteMessage[] = [];
  const stop = routes.subscribe((message) => message.scope === database.scope && told.push(message));
  try {
    await run();
  } finally {
    stop();
  }
  return told;
}

let lastId = 1_000;
const nextId = (): number => (lastId += 1);
const insert = (id: number): ReturnType<typeof sql> => sql`insert into note (id) values (${id})`;
const find = (id: number): ReturnType<typeof sql> => sql`select id from note where id = ${id}`;
const standby = sql`select pg_is_in_recovery() as standby`;
const outOf = (database: Database): (string | undefined)[] =>
  database.routing().replicas.map(({ out }) => out);
const serving = (database: Database): Promise<void> =>
  expect.poll(() => outOf(database), { timeout: 20_000 }).toEqual([undefined, undefined]);

describe('read your writes', () => {
  test('a position from before COMMIT is one at which the commit cannot be seen', async () => {
    await using replica = createDatabase({ url: server.replicaUrls[0] ?? '' });
    for (let round = 0; round < 3; round += 1) {
      // Delays commits, and nothing else of the log.
      await one.lag(60_000);
      const id = nextId();
      const early = await admin.transaction(async (tx) => {
        await tx.execute(insert(id));
        return tx.one<{ at: string }>(sql`select pg_current_wal_insert_lsn()::text as at`);
      });
      // What a router would wait for, with the wrong token.
      await expect
        .poll(
          async () => {
            const { at } = await replica.one<{ at: string }>(
              sql`select pg_last_wal_replay_lsn()::text as at`,
            );
            return (parseLsn(at) ?? 0n) >= (parseLsn(early.at) ?? 0n);
          },
          { timeout: 10_000, interval: 1 },
        )
        .toBe(true);
      expect(await replica.maybeOne(find(id))).toBeUndefined();
      await one.lag(0);
      await one.caughtUp();
    }
  });

  test('a read after a commit shows it, however late the replicas are', async () => {
    const database = await open();
    for (const ms of [0, 40, 150]) {
      await Promise.all([one.lag(ms), two.lag(ms)]);
      for (let round = 0; round < 10; round += 1) {
        const seen = new Seen();
        const id = nextId();
        await database.transaction((tx) => tx.execute(insert(id)), { seen });
        expect(await database.readOnly((db) => db.maybeOne(find(id)), { seen })).toEqual({ id });
      }
    }
    expect(database.routing()).toMatchObject({ refused: 0, unsupported: undefined, epochRow: true });
  });

  test('a read that waits for a replica waits until the commit itself is there', async () => {
    const database = await open({ routing: { waitMs: 5_000 } });
    await Promise.all([one.lag(80), two.lag(80)]);
    for (let round = 0; round < 4; round += 1) {
      await Promise.all([one.caughtUp(), two.caughtUp()]);
      const seen = new Seen();
      const id = nextId();
      await database.transaction((tx) => tx.execute(insert(id)), { seen });
      const told = await routesOf(database, async () => {
        expect(await database.readOnly((db) => db.maybeOne(find(id)), { seen })).toEqual({ id });
      });
      expect(told).toMatchObject([{ role: 'replica', reason: 'token' }]);
      expect(told[0]?.waitedMs).toBeGreaterThan(0);
    }
  });

  test('when the replicas have it, they show it: nearly all reads stay there', async () => {
    const database = await open();
    const before = database.routing();
    for (let round = 0; round < 50; round += 1) {
      const seen = new Seen();
      const id = nextId();
      await database.transaction((tx) => tx.execute(insert(id)), { seen });
      for (let read = 0; read < 9; read += 1)
        expect(await database.readOnly((db) => db.maybeOne(find(id)), { seen })).toEqual({ id });
    }
    const { offload, reads } = database.routing();
    expect(reads - before.reads).toBe(450);
    expect(offload).toBeGreaterThan(0.8);
  });

  test('a statement outside a transaction is seen, too', async () => {
    const database = await open();
    await Promise.all([one.lag(60), two.lag(60)]);
    for (let round = 0; round < 5; round += 1) {
      const id = nextId();
      await runInContext(createContext(), async () => {
        await database.execute(insert(id));
        expect(await database.readOnly((db) => db.maybeOne(find(id)))).toEqual({ id });
      });
    }
  });

  test('so is a commit that does not wait for the disk', async () => {
    const database = await open();
    await serving(database);
    for (let round = 0; round < 10; round += 1) {
      const seen = new Seen();
      const id = nextId();
      const write = database.transaction(
        async (tx) => {
          await tx.execute(sql`set local synchronous_commit = off`);
          await tx.execute(insert(id));
        },
        { seen },
      );
      await write;
      expect(await database.readOnly((db) => db.maybeOne(find(id)), { seen })).toEqual({ id });
    }
  });

  test('each request sees its own writes when many run at once', async () => {
    const database = await open();
    await two.lag(30);
    const request = (): Promise<void> =>
      runInContext(createContext(), async () => {
        for (let round = 0; round < 4; round += 1) {
          const [id, other] = [nextId(), nextId()];
          await Promise.all([
            database.transaction((tx) => tx.execute(insert(id))),
            database.execute(insert(other)),
          ]);
          const rows = await Promise.all(
            [id, other].map((each) => database.readOnly((db) => db.maybeOne(find(each)))),
          );
          expect(rows).toEqual([{ id }, { id: other }]);
        }
      });
    await Promise.all(Array.from({ length: 20 }, request));
  });
});

describe('the token', () => {
  test('costs no round trip: BEGIN, the statement and COMMIT, as without it', async () => {
    await using relay = await startRelay(server.url);
    const database = createDatabase({ url: relay.through(server.url), pool: { max: 1 } });
    opened.push(database);
    const seen = new Seen();
    const write = (options?: { seen: Seen }): Promise<number> =>
      database.transaction((tx) => tx.execute(insert(nextId())), options);
    // The first learns the history.
    await write({ seen });
    const before = relay.roundTrips;
    await write();
    const without = relay.roundTrips - before;
    await write({ seen });
    expect(relay.roundTrips - before - without).toBe(without);
    expect(without).toBe(3);
  });

  test('is at or past the commit and safe on disk; a transaction that wrote nothing leaves no written mark', async () => {
    const database = await open();
    const seen = new Seen();
    await database.transaction((tx) => tx.query(sql`select 1`), { seen });
    expect(seen.mark(database.name)).toMatchObject({ written: 0n });
    expect(seen.mark(database.name)?.read).toBeGreaterThan(0n);
    await database.transaction((tx) => tx.execute(insert(nextId())), { seen });
    const { at } = await admin.one<{ at: string }>(sql`select pg_current_wal_flush_lsn()::text as at`);
    const mark = seen.mark(database.name);
    expect(mark?.written).toBeGreaterThan(0n);
    expect((mark?.written ?? 0n) <= (parseLsn(at) ?? 0n)).toBe(true);
    expect(mark?.epoch).toMatch(/^1\.[0-9a-f]{16}$/);
  });

  test('nothing is minted for what was rolled back', async () => {
    const database = await open();
    const seen = new Seen();
    const swallowed = database.transaction(
      async (tx) => {
        await tx.execute(insert(1)).catch(() => undefined);
      },
      { seen },
    );
    await expect(swallowed).rejects.toMatchObject({ code: 'PL_TRANSACTION_ABORTED' });
    expect(seen.mark(database.name)?.written ?? 0n).toBe(0n);
    expect(seen.isUnknown(database.name)).toBe(false);
    expect(database.pools()['primary']).toMatchObject({ inUse: 0 });
  });

  test('settle takes the positions that were put off, with replicas and without', async () => {
    for (const replicaUrls of [server.replicaUrls, []]) {
      const database = await open({ replicaUrls });
      const context = createContext();
      await runInContext(context, () => database.execute(insert(nextId())));
      expect(context.seen.isUnknown(database.name)).toBe(true);
      await database.settle(context.seen);
      expect(context.seen.isUnknown(database.name)).toBe(false);
      expect(context.seen.mark(database.name)?.written).toBeGreaterThan(0n);
    }
  });

  test('a position that nobody can have seen costs reads of the primary, and no more', async () => {
    const database = await open();
    const seen = new Seen();
    await database.transaction((tx) => tx.execute(insert(nextId())), { seen });
    const epoch = seen.mark(database.name)?.epoch ?? '';
    seen.merge(database.name, { epoch, written: 2n ** 60n, read: 0n });
    await expect
      .poll(async () => {
        const [told] = await routesOf(database, () => database.readOnly((db) => db.one(standby), { seen }));
        return told?.role;
      })
      .toBe('replica');
    seen.merge(database.name, { epoch: '9.forged', written: 5n, read: 0n });
    const told = await routesOf(database, () => database.readOnly((db) => db.one(standby), { seen }));
    expect(told).toMatchObject([{ role: 'primary', reason: 'epoch' }]);
  });
});

describe('levels', () => {
  test('what is read once is never missing afterwards, from replicas of different age', async () => {
    const database = await open({ routing: { waitMs: 0, lagBudgetMs: 60_000 } });
    await two.pause();
    await serving(database);
    await admin.execute(insert(nextId()));
    await one.caughtUp();
    const count = sql`select count(*)::int as n from note`;
    /** Reads that showed less than the one before. */
    const backwards = async (consistency: 'session' | 'eventual'): Promise<number> => {
      const seen = new Seen();
      let [last, violations] = [0, 0];
      for (let read = 0; read < 100; read += 1) {
        const { n } = await database.readOnly((db) => db.one<{ n: number }>(count), { consistency, seen });
        if (n < last) violations += 1;
        last = n;
      }
      return violations;
    };
    expect(await backwards('session')).toBe(0);
    // The control: without the floor the same reads do go back.
    await expect.poll(() => backwards('eventual'), { timeout: 20_000 }).toBeGreaterThan(0);
    expect(await backwards('session')).toBe(0);
  });

  test('ryw asks for the own writes only, session for what was read as well, strong for the primary', async () => {
    const database = await open({ routing: { waitMs: 0, lagBudgetMs: 60_000 } });
    const seen = new Seen();
    await Promise.all([one.pause(), two.pause()]);
    await admin.execute(insert(nextId()));
    // Read on the primary, so that the floor is past what the paused replicas show.
    await database.readOnly((db) => db.query(standby), { seen, consistency: 'strong' });
    const reason = async (consistency: 'eventual' | 'ryw' | 'session' | 'strong'): Promise<unknown> => {
      const told = await routesOf(database, () =>
        database.readOnly((db) => db.query(standby), { seen, consistency }),
      );
      return told.map((each) => `${each.role} ${each.reason}`);
    };
    expect(await reason('eventual')).toEqual(['replica intent']);
    expect(await reason('ryw')).toEqual(['replica intent']);
    expect(await reason('session')).toEqual(['primary token']);
    expect(await reason('strong')).toEqual(['primary intent']);
  });

  test('what was read in a transaction counts, also when it was rolled back; so does a plain read', async () => {
    const database = await open({ routing: { waitMs: 0, lagBudgetMs: 60_000 } });
    await Promise.all([one.pause(), two.pause()]);
    const reads: ((id: number) => Promise<unknown>)[] = [
      (id) => database.transaction((tx) => tx.one(find(id))),
      (id) => database.one(find(id)),
      async (id) => {
        const changedMind = database.transaction(async (tx) => {
          await tx.one(find(id));
          throw new Error('changed my mind');
        });
        await expect(changedMind).rejects.toThrow('changed my mind');
      },
    ];
    for (const read of reads) {
      const id = nextId();
      await admin.execute(insert(id));
      await runInContext(createContext(), async () => {
        await read(id);
        expect(await database.readOnly((db) => db.maybeOne(find(id)))).toEqual({ id });
      });
    }
  });

  test('an eventual read with a limit takes no replica that is older', async () => {
    const database = await open({ routing: { lagBudgetMs: 60_000, waitMs: 0 } });
    await Promise.all([one.pause(), two.pause()]);
    await admin.execute(insert(nextId()));
    await expect
      .poll(() => database.routing().replicas.every(({ lagMs }) => lagMs > 300), { timeout: 20_000 })
      .toBe(true);
    const read = (maxStalenessMs: number): Promise<RouteMessage[]> =>
      routesOf(database, () =>
        database.readOnly((db) => db.query(standby), { consistency: 'eventual', maxStalenessMs }),
      );
    expect(await read(250)).toMatchObject([{ role: 'primary', reason: 'lag' }]);
    expect(await read(60_000)).toMatchObject([{ role: 'replica' }]);
    await expect(
      database.readOnly((db) => db.query(standby), { consistency: 'session', maxStalenessMs: 5 }),
    ).rejects.toMatchObject({ code: 'PL_CONFIG' });
  });
});

describe('replicas that fail', () => {
  test('late ones leave and come back; the primary serves meanwhile', async () => {
    const database = await open({ routing: { lagBudgetMs: 200, waitMs: 5 } });
    await Promise.all([one.pause(), two.pause()]);
    await admin.execute(insert(nextId()));
    const read = (): Promise<RouteMessage[]> =>
      routesOf(database, () => database.readOnly((db) => db.query(standby)));
    await expect
      .poll(
        async () => {
          await read();
          return outOf(database);
        },
        { timeout: 20_000 },
      )
      .toEqual(['lag', 'lag']);
    expect(await read()).toMatchObject([{ role: 'primary', reason: 'lag' }]);
    await Promise.all([one.resume(), two.resume()]);
    await serving(database);
  });

  test('a restarted one is known anew: no read fails, and none shows less than before', async () => {
    const database = await open();
    let reading = true;
    const seen = new Seen();
    const reads = (async () => {
      let last = 0;
      const count = sql`select count(*)::int as n from note`;
      while (reading) {
        await database.transaction((tx) => tx.execute(insert(nextId())), { seen });
        const { n } = await database.readOnly((db) => db.one<{ n: number }>(count), { seen });
        expect(n).toBeGreaterThan(last);
        last = n;
      }
    })();
    await one.restart('immediate');
    await expect.poll(() => database.routing().reads, { timeout: 20_000 }).toBeGreaterThan(20);
    reading = false;
    await reads;
    await serving(database);
  });

  test('with both dead the primary serves what it may, and the rest is refused, soon', async () => {
    const database = await open({
      routing: { fallbackMax: 2, fallbackWaiting: 1, fallbackWaitMs: 50 },
      pool: { max: 4 },
    });
    await Promise.all([one.kill(), two.kill()]);
    const slow = sql`select pg_sleep(0.5)`;
    const outcomes = await Promise.all(
      Array.from({ length: 6 }, () =>
        database
          .readOnly((db) => db.query(slow))
          .then(
            () => 'read',
            (error: { code: string; data: { retryAfterMs: number } }) => {
              expect(error.data.retryAfterMs).toBeGreaterThan(0);
              return error.code;
            },
          ),
      ),
    );
    expect(outcomes.filter((each) => each === 'read')).toHaveLength(2);
    expect(outcomes.filter((each) => each === 'PL_BULKHEAD_FULL')).toHaveLength(4);
    // Writes have connections of their own.
    await database.execute(insert(nextId()));
    expect(database.routing()).toMatchObject({ refused: 4, fallbacks: { inUse: 0, waiting: 0 } });
    await Promise.all([one.restart(), two.restart()]);
    await expect
      .poll(
        async () => {
          await database.readOnly((db) => db.query(standby));
          return outOf(database);
        },
        { timeout: 20_000 },
      )
      .toEqual([undefined, undefined]);
  });

  test('a dead primary: what the replicas have is still read', async () => {
    const database = await open();
    const seen = new Seen();
    await database.transaction((tx) => tx.execute(insert(nextId())), { seen });
    await Promise.all([one.caughtUp(), two.caughtUp()]);
    await database.readOnly((db) => db.query(standby), { seen });
    await cluster.primary.kill();
    try {
      for (let read = 0; read < 5; read += 1)
        expect(await database.readOnly((db) => db.one(standby), { seen })).toEqual({ standby: true });
      await expect(
        database.readOnly((db) => db.one(standby), { seen, consistency: 'strong' }),
      ).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
    } finally {
      await cluster.primary.restart();
      await admin.ping().catch(() => undefined);
    }
  });

  test('a conflict with replay is tried elsewhere, and the caller hears nothing of it', async () => {
    const database = await open();
    await serving(database);
    const told = await routesOf(database, async () => {
      const reading = database.readOnly((db) =>
        db.one(sql`select count(*)::int as n, pg_sleep(0.7) from note`),
      );
      await expect
        .poll(
          async () =>
            database.pools()['replica-1']?.inUse === 1 || database.pools()['replica-2']?.inUse === 1,
        )
        .toBe(true);
      await admin.execute(sql`delete from note where id <= 50`);
      await admin.execute(sql`vacuum note`);
      await reading;
    });
    expect(told).toHaveLength(1);
    expect(told[0]?.reason).toBe('conflict');
    await admin.execute(sql`insert into note select n, 'x' from generate_series(1, 50) n`);
  });

  test('a table that the replica has not heard of is read from the primary', async () => {
    const database = await open({ routing: { lagBudgetMs: 60_000 } });
    await Promise.all([one.pause(), two.pause()]);
    await admin.execute(sql`create table fresh (id int)`);
    const told = await routesOf(database, () =>
      database.readOnly((db) => db.query(sql`select * from fresh`), { consistency: 'eventual' }),
    );
    expect(told).toMatchObject([{ role: 'primary', reason: 'lag' }]);
    await admin.execute(sql`drop table fresh`);
    const missing = database.readOnly((db) => db.query(sql`select * from fresh`));
    expect(sqlState(await missing.catch((error: unknown) => error))).toBe('42P01');
  });

  test('whatever connection is terminated, the process lives and the next read succeeds', async () => {
    const database = await open();
    await serving(database);
    const held = Promise.withResolvers<void>();
    const holding = [
      database.readOnly(
        async (db) => {
          await db.query(standby);
          await held.promise;
          await db.query(standby);
        },
        { snapshot: true },
      ),
      database.transaction(async (tx) => {
        await tx.query(standby);
        await held.promise;
        await tx.query(standby);
      }),
    ];
    const ended = Promise.allSettled(holding);
    await expect.poll(() => database.pools()['primary']?.inUse).toBe(1);
    for (const url of [server.url, ...server.replicaUrls]) {
      await using there = createDatabase({ url, applicationName: 'executioner' });
      const { n } = await there.one<{ n: number }>(sql`
        select count(*)::int as n from (
          select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'routed') gone`);
      expect(n).toBeGreaterThan(0);
    }
    held.resolve();
    for (const { status } of await ended) expect(status).toBe('rejected');
    for (let read = 0; read < 5; read += 1) {
      await runInContext(createContext(), async () => {
        await database.execute(insert(nextId()));
        await database.readOnly((db) => db.one(standby));
      });
    }
    await serving(database);
  });
});

describe('a snapshot', () => {
  test('sees one moment of one server, with the own writes, and cannot write', async () => {
    const database = await open();
    const seen = new Seen();
    const id = nextId();
    await database.transaction((tx) => tx.execute(insert(id)), { seen });
    const later = nextId();
    const told = await routesOf(database, () =>
      database.readOnly(
        async (db) => {
          expect(await db.maybeOne(find(id))).toEqual({ id });
          await admin.execute(insert(later));
          await Promise.all([one.caughtUp(), two.caughtUp()]);
          expect(await db.maybeOne(find(later))).toBeUndefined();
          const { level } = await db.one<{ level: string }>(
            sql`select current_setting('transaction_isolation') as level`,
          );
          expect(level).toBe('repeatable read');
        },
        { snapshot: true, seen },
      ),
    );
    expect(told).toHaveLength(1);
    expect(await database.readOnly((db) => db.maybeOne(find(later)), { seen })).toEqual({ id: later });
    const write = database.readOnly((db) => db.execute(insert(nextId())), { snapshot: true });
    expect(sqlState(await write.catch((error: unknown) => error))).toBe('25006');
    const pools = Object.values(database.pools());
    expect(pools.every(({ inUse }) => inUse === 0)).toBe(true);
  });

  test('on the primary when no replica has what its reader has seen', async () => {
    const database = await open({ routing: { waitMs: 0, lagBudgetMs: 60_000 } });
    const seen = new Seen();
    await Promise.all([one.pause(), two.pause()]);
    const id = nextId();
    await database.transaction((tx) => tx.execute(insert(id)), { seen });
    const told = await routesOf(database, async () => {
      const read = database.readOnly((db) => db.one(find(id)), { snapshot: true, seen });
      expect(await read).toEqual({ id });
    });
    expect(told).toMatchObject([{ role: 'primary', reason: 'token' }]);
    const write = database.readOnly((db) => db.execute(insert(nextId())), { snapshot: true, seen });
    expect(sqlState(await write.catch((error: unknown) => error))).toBe('25006');
  });

  test('fails as a whole once it has handed out rows', async () => {
    const database = await open();
    await serving(database);
    let rows = 0;
    const reading = database.readOnly(
      async (db) => {
        rows = (await db.query(sql`select id from note limit 5`)).length;
        const { pid } = await db.one<{ pid: number }>(sql`select pg_backend_pid() as pid`);
        for (const url of server.replicaUrls) {
          await using there = createDatabase({ url, applicationName: 'executioner' });
          await there.query(sql`select pg_terminate_backend(pid, 5000) from pg_stat_activity
            where pid = ${pid} and application_name = 'routed'`);
        }
        await db.query(sql`select id from note limit 5`);
      },
      { snapshot: true },
    );
    await expect(reading).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
    expect(rows).toBe(5);
  });
});

describe('a commit that waits for a synchronous standby', () => {
  const standbyNames = async (names: string): Promise<void> => {
    // ALTER SYSTEM runs in no transaction, and takes no parameter.
    await admin.execute(sql`alter system set synchronous_standby_names = ${trustedSql(`'${names}'`)}`);
    await admin.execute(sql`select pg_reload_conf()`);
    await expect
      .poll(async () => (await admin.one(sql`show synchronous_standby_names`))['synchronous_standby_names'])
      .toBe(names);
  };

  test('a replica may show it before the primary does: reads stay on replicas that have it', async () => {
    const database = await open();
    await serving(database);
    const writer = await open({ applicationName: 'writer' });
    const id = nextId();
    // Before the commit hangs: with a standby that is not there, whatever is written on the primary waits for ever.
    await standbyNames('nobody');
    const unknown = new Seen();
    const context = createContext({ deadlineAtMs: performance.now() + 1_500, seen: unknown });
    const committing = runInContext(context, () => writer.transaction((tx) => tx.execute(insert(id))));
    const failed = committing.catch((error: unknown) => error);
    try {
      const seen = new Seen();
      // Somebody else reads it on a replica, and is never shown a time before it again.
      await expect
        .poll(() => database.readOnly((db) => db.maybeOne(find(id)), { seen }), {
          timeout: 10_000,
          interval: 5,
        })
        .toEqual({ id });
      const told = await routesOf(database, async () => {
        for (let read = 0; read < 20; read += 1)
          expect(await database.readOnly((db) => db.maybeOne(find(id)), { seen })).toEqual({ id });
      });
      expect(new Set(told.map(({ role }) => role))).toEqual(new Set(['replica']));
      // The limit of the promise: the primary itself does not show it yet.
      const strong = { seen, consistency: 'strong' } as const;
      expect(await database.readOnly((db) => db.maybeOne(find(id)), strong)).toBeUndefined();
      // The writer gives up waiting. What became of its commit is not known: only the primary is asked from then on.
      expect(await failed).toMatchObject({ code: 'PL_COMMIT_UNKNOWN' });
      const reading = await routesOf(database, () =>
        database.readOnly((db) => db.one(standby), { seen: unknown }),
      );
      expect(reading).toMatchObject([{ role: 'primary', reason: 'unknown' }]);
    } finally {
      await standbyNames('');
    }
    await expect.poll(() => admin.maybeOne(find(id)), { timeout: 10_000 }).toEqual({ id });
    await database.transaction((tx) => tx.execute(insert(nextId())), { seen: unknown });
    expect(unknown.isUnknown(database.name)).toBe(false);
  });
});

describe('what is told', () => {
  test('the canary writes, reads back and counts; polls end when nobody reads', async () => {
    const database = await open({ routing: { canaryMs: 20 } });
    await expect.poll(() => database.routing().canary.beats, { timeout: 20_000 }).toBeGreaterThan(5);
    expect(database.routing().canary).toMatchObject({ violations: 0, failures: 0 });
    expect(JSON.parse(JSON.stringify(database.routing()))).toMatchObject({
      replicas: [{}, {}],
      fenced: false,
    });
  });
});
