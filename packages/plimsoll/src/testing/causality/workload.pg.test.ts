import { startCluster, type Cluster, type Replica, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase } from '../../database/database.ts';
import { migrate } from '../../database/migrate.ts';
import { routingMigrations } from '../../database/routing/migrations.ts';
// #region system
import { Seen, seenTokens, sql, type Consistency, type Database } from 'plimsoll/database';
import { describeViolation, runWorkload, type CausalSystem } from 'plimsoll/testing';

/** `create table kv (key text primary key, version int not null, note text not null)` */
function throughRouter(database: Database, consistency: Consistency): CausalSystem {
  const tokens = seenTokens();
  const seenBy = (token: string | undefined): Seen =>
    (token === undefined ? undefined : tokens.read(token)) ?? new Seen();
  return {
    async read(key, client) {
      const seen = seenBy(client.token);
      const row = await database.readOnly(
        (db) =>
          db.maybeOne<{ version: number; note: string }>(
            sql`select version, note from kv where key = ${key}`,
          ),
        { seen, consistency },
      );
      return { version: row?.version ?? 0, note: row?.note, token: tokens.write(seen) };
    },
    async write(key, note, client) {
      const seen = seenBy(client.token);
      const { version } = await database.transaction(
        (tx) =>
          tx.one<{ version: number }>(sql`
            insert into kv (key, version, note) values (${key}, 1, ${note})
            on conflict (key) do update set version = kv.version + 1, note = excluded.note
            returning version`),
        { seen },
      );
      return { version, token: tokens.write(seen) };
    },
    merge(known, given) {
      const seen = seenBy(known);
      seen.mergeAll(seenBy(given));
      return tokens.write(seen);
    },
  };
}
// #endregion

let cluster: Cluster;
let server: TestDatabase;
let one: Replica;

beforeAll(async () => {
  cluster = await startCluster({ replicas: 2 });
  [one] = cluster.replicas as [Replica];
  server = await cluster.createDatabase();
  await using admin = createDatabase({ url: server.url });
  await migrate(admin, [routingMigrations]);
  await admin.execute(sql`create table kv (key text primary key, version int not null, note text not null)`);
  await Promise.all(cluster.replicas.map((replica) => replica.caughtUp()));
}, 60_000);
afterAll(() => cluster?.stop());

/** What is late stays in the rotation, so that only what readers have seen keeps them away from it. */
async function open(): Promise<Database> {
  const routing = { lagBudgetMs: 3_600_000, pollTimeoutMs: 5_000 };
  const database = createDatabase({ url: server.url, replicaUrls: server.replicaUrls, routing });
  await database.ping();
  await expect
    .poll(() => database.routing().replicas.map(({ out }) => out), { timeout: 20_000 })
    .toEqual([undefined, undefined]);
  return database;
}

const small = { keys: 10, thinkMs: 5, awayMs: 300, handOverShare: 0.03 };

test('the router hides nothing, and replicas serve most reads', async () => {
  await using database = await open();
  // #region run
  const { checker, seed } = await runWorkload(throughRouter(database, 'session'), {
    ...small,
    operations: 3_000,
  });
  expect(checker.violations.map(describeViolation), `seed ${seed}`).toEqual([]);
  // #endregion
  expect(checker.reads).toBeGreaterThan(2_500);
  expect(database.routing().offload).toBeGreaterThan(0.5);
});

test('nor while a replica stands still and both are in the rotation', async () => {
  await using database = await open();
  await one.pause();
  try {
    const { checker, seed } = await runWorkload(throughRouter(database, 'session'), {
      ...small,
      operations: 3_000,
    });
    expect(checker.violations.map(describeViolation), `seed ${seed}`).toEqual([]);
    expect(database.routing().replicas.map(({ out }) => out)).toEqual([undefined, undefined]);
    expect(database.routing().offload).toBeGreaterThan(0.1);
  } finally {
    await one.resume();
  }
});

test('what reads any replica is caught', async () => {
  await using database = await open();
  await one.pause();
  try {
    const { checker } = await runWorkload(throughRouter(database, 'eventual'), {
      ...small,
      operations: 2_000,
    });
    const found = checker.violationsByGuarantee;
    expect(found['read-your-writes']).toBeGreaterThan(10);
    expect(found['monotonic-reads']).toBeGreaterThan(10);
    expect(found['writes-follow-reads']).toBeGreaterThan(0);
    expect(found['monotonic-writes']).toBeUndefined();
  } finally {
    await one.resume();
  }
});
