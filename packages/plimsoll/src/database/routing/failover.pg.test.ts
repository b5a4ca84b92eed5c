import { startCluster, type Cluster, type Replica, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { routes } from '../../kernel/channels.ts';
import { parseLsn, Seen, timelineOf } from '../../kernel/seen.ts';
import { createDatabase, type Database } from '../database.ts';
import { migrate } from '../migrate.ts';
import { sql } from '../sql.ts';
import { startRelay, type Relay } from './fixtures/relay.ts';
import { routingMigrations } from './migrations.ts';

let cluster: Cluster;
let one: Replica;
let two: Replica;
let server: TestDatabase;
let relay: Relay;

beforeAll(async () => {
  cluster = await startCluster({ replicas: 2 });
  [one, two] = cluster.replicas as [Replica, Replica];
  server = await cluster.createDatabase();
  relay = await startRelay(server.url);
  await using admin = createDatabase({ url: server.url });
  await migrate(admin, [routingMigrations]);
  await admin.execute(sql`create table note (id int primary key, text text not null default '')`);
}, 60_000);
afterAll(async () => {
  await relay?.[Symbol.asyncDispose]();
  await cluster?.stop();
});

const insert = (id: number): ReturnType<typeof sql> => sql`insert into note (id) values (${id})`;
const find = (id: number): ReturnType<typeof sql> => sql`select id from note where id = ${id}`;

/** Connections were cut; a pool finds out one by one. */
async function untilDone<T>(work: () => Promise<T>): Promise<T> {
  let result: { value: T } | undefined;
  await expect
    .poll(
      async () => {
        result = await work().then(
          (value) => ({ value }),
          () => undefined,
        );
        return result !== undefined;
      },
      { timeout: 20_000 },
    )
    .toBe(true);
  return result!.value;
}

function outOf(database: Database): (string | undefined)[] {
  return database.routing().replicas.map(({ out }) => out);
}

test('a promotion that loses a tail, a standby that stays with the lost history, and an old primary that returns', async () => {
  await using database = createDatabase({
    url: relay.through(server.url),
    replicaUrls: server.replicaUrls,
    routing: { pollTimeoutMs: 2_000 },
  });
  await database.ping();
  await expect.poll(() => outOf(database), { timeout: 20_000 }).toEqual([undefined, undefined]);

  // The first replica misses the end of what the primary writes; the second one has it.
  await one.caughtUp();
  await one.kill();
  const old = new Seen();
  await database.transaction(
    async (tx) => {
      await tx.execute(insert(1));
      await tx.execute(sql`insert into note select n, repeat('x', 1000) from generate_series(1000, 2000) n`);
    },
    { seen: old },
  );
  await two.caughtUp();
  await cluster.primary.kill();
  await one.restart();
  await one.promote();
  relay.pointTo(one.url);

  const fresh = new Seen();
  await untilDone(() => database.transaction((tx) => tx.execute(insert(2)), { seen: fresh }));
  const mark = fresh.mark(database.name);
  expect(timelineOf(mark?.epoch ?? '')).toBe(2);

  // By number alone the second replica would do: it is past the position, in a history that nobody else has.
  await using zombie = createDatabase({ url: server.replicaUrls[1] ?? '' });
  const { at } = await zombie.one<{ at: string }>(sql`select pg_last_wal_replay_lsn()::text as at`);
  expect((parseLsn(at) ?? 0n) >= (mark?.written ?? 0n)).toBe(true);
  expect(await zombie.maybeOne(find(2))).toBeUndefined();
  // For longer than a replica that is well takes to come back.
  const { polls } = database.routing();
  await expect
    .poll(
      async () => {
        expect(await database.readOnly((db) => db.maybeOne(find(2)), { seen: fresh })).toEqual({ id: 2 });
        return database.routing().polls;
      },
      { timeout: 20_000, interval: 5 },
    )
    .toBeGreaterThan(polls + 20);
  expect(outOf(database)).toEqual(['promoted', 'epoch']);

  // A token from before: the primary answers, its write is lost, and the token is of the new history from then on.
  const reasons: string[] = [];
  const stop = routes.subscribe(
    (message) => message.scope === database.scope && reasons.push(message.reason),
  );
  expect(await database.readOnly((db) => db.maybeOne(find(1)), { seen: old })).toBeUndefined();
  stop();
  expect(reasons).toEqual(['epoch']);
  expect(old.mark(database.name)?.epoch).toBe(mark?.epoch);

  // It follows the new primary, shows its row, and serves again.
  await two.reseed(one);
  await expect
    .poll(
      async () => {
        await database.readOnly((db) => db.maybeOne(find(2)), { seen: fresh });
        return outOf(database);
      },
      { timeout: 20_000 },
    )
    .toEqual(['promoted', undefined]);

  // The old primary is back under the name of the primary: nothing is read there, and nothing written.
  await cluster.primary.restart();
  relay.pointTo(cluster.primary.url);
  await expect
    .poll(
      async () => {
        await database
          .readOnly((db) => db.maybeOne(find(2)), { consistency: 'strong', seen: fresh })
          .catch(() => 0);
        return database.routing().fenced;
      },
      { timeout: 20_000 },
    )
    .toBe(true);
  await expect(
    database.readOnly((db) => db.maybeOne(find(1)), { consistency: 'strong', seen: fresh }),
  ).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
  await expect(database.transaction((tx) => tx.execute(insert(3)))).rejects.toMatchObject({
    code: 'PL_DATABASE_UNAVAILABLE',
  });
  await expect(database.execute(insert(3))).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
  // What replicas have is still read.
  expect(await database.readOnly((db) => db.maybeOne(find(2)), { seen: fresh })).toEqual({ id: 2 });

  relay.pointTo(one.url);
  await untilDone(() => database.transaction((tx) => tx.execute(insert(4)), { seen: fresh }));
  expect(await database.readOnly((db) => db.maybeOne(find(4)), { seen: fresh })).toEqual({ id: 4 });
});
