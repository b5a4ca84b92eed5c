import {
  createTestDatabase,
  startCluster,
  type Cluster,
  type Replica,
  type TestDatabase,
} from '@plimsoll/embedded';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { happening, levels } from '../../test/views/stock.ts';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql, trustedSql } from '../database/sql.ts';
import { systemClock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { Seen } from '../kernel/seen.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import { createRelay } from '../outbox/relay.ts';
import { createViewBuilder } from './builder.ts';
import { createLogMarks, type LogMarks } from './log-marks.ts';
import type { PlacedView } from './place.ts';
import { prepareViews } from './prepare.ts';
import { createViewReads, type ViewReads } from './reads.ts';

let cluster: Cluster;
let replica: Replica;
let server: TestDatabase;
let admin: Database;
const parts: Lifecycle[] = [];
const databases: Database[] = [];
let schemas = 0;
let schema: string;
let place: PlacedView;

beforeAll(async () => {
  cluster = await startCluster({ replicas: 1, log: () => undefined });
  [replica] = cluster.replicas as [Replica];
  server = await createTestDatabase({ primaryUrl: cluster.primary.url, replicaUrls: [replica.url] });
  admin = createDatabase({ url: server.url });
  await migrate(admin, migrationsOf({ modules: [] }));
});
afterAll(async () => {
  await admin.close();
  await cluster.stop();
});
beforeEach(async () => {
  schema = `read_${(schemas += 1)}`;
  place = { schema, view: levels('levels') };
  await prepareViews({ database: admin, log: admin }, [place]);
});
afterEach(async () => {
  await Promise.all(parts.splice(0).map((part) => part.stop()));
  await Promise.all(databases.splice(0).map((database) => database.close()));
});

async function open(withReplica = false, applicationName = 'reader'): Promise<Database> {
  const database = createDatabase({
    url: server.url,
    applicationName,
    replicaUrls: withReplica ? server.replicaUrls : [],
    // A replica that is paused stays in use.
    routing: { lagBudgetMs: 600_000, pollTimeoutMs: 2_000 },
  });
  databases.push(database);
  await database.ping();
  return database;
}
async function run<T extends Lifecycle>(part: T): Promise<T> {
  parts.push(part);
  await part.start();
  return part;
}
const startRelay = (database: Database, onMoved?: () => void) =>
  run(
    createRelay({
      database,
      subscriptions: [],
      modules: [],
      pollMs: 20,
      ...(onMoved === undefined ? {} : { onMoved }),
    }),
  );

/** One process: what fills the view, what waits for it, and what moves events. */
async function startProcess(
  database: Database,
  { builds = true, waitMs = 10_000 } = {},
): Promise<{ reads: ViewReads }> {
  const builder = createViewBuilder({
    database,
    views: [place],
    pollMs: 20,
    onApplied: (applied) => reads.applied(applied),
  });
  const reads = createViewReads({ database, views: [place], waitMs, wakeBuilder: builder.wake });
  if (builds) {
    await run(builder);
    await startRelay(database, () => {
      builder.wake();
      reads.moved();
    });
  }
  return { reads };
}

const receive = (database: Database, seen: Seen, sku: string) =>
  database.transaction((tx) => tx.execute(happening([{ type: 'received', sku, count: 1, place: 'x' }])), {
    seen,
  });
const countOf = async (database: Database, seen: Seen, sku: string): Promise<number> =>
  (
    await database.readOnly(
      (db) =>
        db.maybeOne<{ count: number }>(sql`select count from ${sql.id(schema, 'levels')} where sku = ${sku}`),
      { seen },
    )
  )?.count ?? 0;
const names = (): string[] => [`${schema}.levels`];

describe('a reader', () => {
  test('who has written nothing does not wait, whoever is behind', async () => {
    const database = await open();
    const { reads } = await startProcess(database, { builds: false, waitMs: 1 });
    await receive(database, new Seen(), 'a');
    await reads.current(names(), { seen: new Seen() });
    await reads.current(names());
    expect(reads.state()).toMatchObject({ asked: 0, late: 0 });
  });

  test('who has written waits for it, and is told when that takes too long', async () => {
    const database = await open();
    const [seen, idle] = [new Seen(), await startProcess(database, { builds: false, waitMs: 200 })];
    await receive(database, seen, 'b');
    await expect(idle.reads.current(names(), { seen })).rejects.toMatchObject({
      code: 'PL_VIEW_LATE',
      status: 503,
      data: { views: names(), waitMs: 200 },
    });
    expect(idle.reads.state()).toMatchObject({ asked: 1, atOnce: 0, late: 1 });
    const { reads } = await startProcess(database);
    await reads.current(names(), { seen });
    expect(await countOf(database, seen, 'b')).toBe(1);
    // It is known by now.
    await reads.current(names(), { seen });
    expect(reads.state()).toMatchObject({ asked: 2, atOnce: 1, late: 0 });
  });

  test('whose deadline is before that gets the deadline', async () => {
    const database = await open();
    const { reads } = await startProcess(database, { builds: false });
    const seen = new Seen();
    await receive(database, seen, 'c');
    const context = createContext({ seen, deadlineAtMs: systemClock.monotonicMs() + 100 });
    await expect(runInContext(context, () => reads.current(names()))).rejects.toMatchObject({
      code: 'PL_DEADLINE',
    });
  });

  test('sees each of its writes at once, among many who write, in a process that builds and in one that does not', async () => {
    const [builds, reads] = [await open(), await open()];
    const processes = [
      { database: builds, ...(await startProcess(builds)) },
      { database: reads, ...(await startProcess(reads, { builds: false })) },
    ];
    await Promise.all(
      Array.from({ length: 8 }, async (_, client) => {
        const seen = new Seen();
        for (let turn = 1; turn <= 10; turn += 1) {
          await receive((processes[turn % 2] as (typeof processes)[0]).database, seen, `client ${client}`);
          const at = processes[(turn + client) % 2] as (typeof processes)[0];
          await at.reads.current(names(), { seen });
          expect(await countOf(at.database, seen, `client ${client}`)).toBe(turn);
        }
      }),
    );
  });

  test('who asks for all that was committed waits for what others wrote', async () => {
    const database = await open();
    const { reads } = await startProcess(database);
    await receive(database, new Seen(), 'd');
    await reads.current(names(), { strong: true });
    expect(await countOf(database, new Seen(), 'd')).toBe(1);
  });

  test('whose commit has no known position waits for all there is', async () => {
    const database = await open();
    const { reads } = await startProcess(database);
    const seen = new Seen();
    // A statement outside a transaction: its position is asked for when somebody needs it.
    await runInContext(createContext({ seen }), () =>
      database.execute(happening([{ type: 'received', sku: 'e', count: 1, place: 'x' }])),
    );
    await reads.current(names(), { seen });
    expect(await countOf(database, seen, 'e')).toBe(1);
  });

  test('sees its write in rows that are in another database than the log', async () => {
    const other = await createTestDatabase({ primaryUrl: cluster.primary.url });
    const [log, rows] = [await open(), createDatabase({ url: other.url })];
    databases.push(rows);
    await migrate(rows, migrationsOf({ modules: [] }));
    const far = { schema, view: levels('far') };
    const builder = createViewBuilder({
      database: rows,
      log,
      views: [far],
      onApplied: (applied) => reads.applied(applied),
    });
    const reads = createViewReads({
      database: rows,
      log,
      views: [far],
      waitMs: 10_000,
      wakeBuilder: builder.wake,
    });
    await run(builder);
    await startRelay(log);
    for (let turn = 1; turn <= 3; turn += 1) {
      const seen = new Seen();
      await receive(log, seen, `far ${schema}`);
      await reads.current([`${schema}.far`], { seen });
      expect(
        await rows.one(sql`select count from ${sql.id(schema, 'far')} where sku = ${`far ${schema}`}`),
      ).toEqual({ count: turn });
    }
  });

  test('is sent to no replica that has its write and not the view of it', async () => {
    const database = await open(true);
    const replicated = async (): Promise<void> => {
      await replica.caughtUp();
      await vi.waitFor(async () => {
        await countOf(database, new Seen(), '');
        expect(database.routing().replicas.map(({ out }) => out)).toEqual([undefined]);
      });
    };
    for (const builds of [true, false]) {
      const sku = `replica ${builds}`;
      const seen = new Seen();
      await receive(database, seen, sku);
      // The replica has the write from here on, and nothing of what comes after it.
      await replicated();
      await replica.pause();
      try {
        const builder = await startProcess(builds ? database : await open());
        const reading = builds ? builder : await startProcess(database, { builds: false });
        await reading.reads.current(names(), { seen });
        expect(await countOf(database, seen, sku)).toBe(1);
        // Who has written nothing may still be shown what the replica has.
        expect(await countOf(database, new Seen(), sku)).toBe(0);
      } finally {
        await replica.resume();
        await Promise.all(parts.splice(0).map((part) => part.stop()));
      }
    }
  });
});

describe('a mark of the log', () => {
  let marks: LogMarks;
  let database: Database;
  beforeEach(async () => {
    database = await open();
    const relay = await startRelay(database);
    marks = createLogMarks({ log: database, clock: systemClock, wakeRelay: relay.wake });
  });
  const standby = async (name: string): Promise<void> => {
    await admin.execute(sql`alter system set synchronous_standby_names = ${trustedSql(`'${name}'`)}`);
    await admin.execute(sql`select pg_reload_conf()`);
    await expect
      .poll(async () => (await admin.one(sql`show synchronous_standby_names`))['synchronous_standby_names'])
      .toBe(name);
  };

  test('waits for a commit that is in the write-ahead log and that nobody can see', async () => {
    const writer = await open(false, 'hidden');
    const seen = new Seen();
    await receive(writer, seen, 'before');
    // With a standby that is not there a commit hangs, after its record was written.
    await standby('nobody');
    let answered = false;
    let writing: Promise<unknown>;
    let asked: Promise<{ lsn: bigint; position: number }>;
    try {
      writing = receive(writer, seen, `hidden ${schema}`);
      await vi.waitFor(async () =>
        expect(
          await admin.query(
            sql`select 1 from pg_stat_activity where wait_event = 'SyncRep' and application_name = 'hidden'`,
          ),
        ).toHaveLength(1),
      );
      asked = marks.fresh().finally(() => (answered = true));
      // It looks again and again.
      await vi.waitFor(async () =>
        expect(
          await admin.query(
            sql`select 1 from pg_stat_activity where query like '%idle in transaction%' and pid <> pg_backend_pid()`,
          ),
        ).not.toEqual([]),
      );
      expect(answered).toBe(false);
    } finally {
      await standby('');
    }
    await writing;
    const { position } = await asked;
    const hidden = await admin.one<{ position: number }>(
      sql`select position from plimsoll.event where payload->>'sku' = ${`hidden ${schema}`}`,
    );
    expect(position).toBeGreaterThanOrEqual(hidden.position);
  });

  test('does not wait for one who has written events and has not begun to commit', async () => {
    const release = Promise.withResolvers<void>();
    const wrote = Promise.withResolvers<void>();
    const open_ = database.transaction(async (tx) => {
      await tx.execute(happening([{ type: 'looked' }]));
      wrote.resolve();
      await release.promise;
    });
    await wrote.promise;
    try {
      expect((await marks.fresh()).position).toBeGreaterThan(0);
    } finally {
      release.resolve();
      await open_;
    }
  });

  test('is known for whoever has written before it, and not for who wrote after', async () => {
    const [before, after] = [new Seen(), new Seen()];
    await receive(database, before, 'x');
    const { position, epoch } = await marks.fresh();
    await receive(database, after, 'y');
    const { written } = before.mark(database.name) as { written: bigint };
    expect(epoch).toBe(before.mark(database.name)?.epoch);
    expect(marks.known(epoch as string, written)).toBe(position);
    expect(marks.known(epoch as string, after.mark(database.name)?.written as bigint)).toBeUndefined();
    expect(marks.known('9.other', written)).toBeUndefined();
  });

  test('that somebody asks for while one is being taken is another one', async () => {
    const [first, second, third] = await Promise.all([marks.fresh(), marks.fresh(), marks.fresh()]);
    expect(second).not.toBe(first);
    expect(third).toBe(second);
    expect(second.lsn).toBeGreaterThanOrEqual(first.lsn);
  });
});
