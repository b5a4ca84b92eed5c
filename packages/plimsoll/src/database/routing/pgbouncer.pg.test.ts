import { startCluster, type Cluster, type Replica, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createContext, runInContext } from '../../kernel/context.ts';
import { Seen } from '../../kernel/seen.ts';
import { createDatabase, type Database, type DatabaseOptions } from '../database.ts';
import { sqlState } from '../failures.ts';
import { migrate } from '../migrate.ts';
import { sql } from '../sql.ts';
import { noPgBouncer, startPgBouncer, type PgBouncer } from './fixtures/pgbouncer.ts';
import { routingMigrations } from './migrations.ts';

describe.skipIf(noPgBouncer !== undefined)(
  `behind PgBouncer in transaction mode${noPgBouncer === undefined ? '' : ` (skipped: ${noPgBouncer})`}`,
  () => {
    let cluster: Cluster;
    let replica: Replica;
    let server: TestDatabase;
    let bouncer: PgBouncer;
    const opened: Database[] = [];

    beforeAll(async () => {
      cluster = await startCluster({ replicas: 1 });
      [replica] = cluster.replicas as [Replica];
      server = await cluster.createDatabase();
      await using admin = createDatabase({ url: server.url });
      await migrate(admin, [routingMigrations]);
      await admin.execute(sql`create table note (id int primary key generated always as identity)`);
      bouncer = await startPgBouncer([server.url, ...server.replicaUrls]);
    }, 60_000);
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((database) => database.close()));
      await replica.lag(0);
    });
    afterAll(async () => {
      await bouncer?.[Symbol.asyncDispose]();
      await cluster?.stop();
    });

    async function open(options: Partial<DatabaseOptions> = {}): Promise<Database> {
      const { routing, ...rest } = options;
      const database = createDatabase({
        url: bouncer.through(server.url),
        replicaUrls: server.replicaUrls.map((url) => bouncer.through(url)),
        ...rest,
        routing: { pooler: 'one-to-one', pollTimeoutMs: 2_000, ...routing },
      });
      opened.push(database);
      await database.ping();
      return database;
    }

    const insert = sql`insert into note default values returning id`;
    const find = (id: number): ReturnType<typeof sql> => sql`select id from note where id = ${id}`;
    const serving = (database: Database): Promise<void> =>
      expect.poll(() => database.routing().replicas[0]?.out, { timeout: 20_000 }).toBeUndefined();

    test('what is written is read, in a transaction and outside of one, by many at once', async () => {
      const database = await open();
      await serving(database);
      const request = (): Promise<void> =>
        runInContext(createContext(), async () => {
          for (let round = 0; round < 5; round += 1) {
            const { id } = await database.transaction((tx) => tx.one<{ id: number }>(insert));
            expect(await database.readOnly((db) => db.maybeOne(find(id)))).toEqual({ id });
            const other = await database.one<{ id: number }>(insert);
            expect(await database.readOnly((db) => db.maybeOne(find(other.id)))).toEqual(other);
          }
        });
      await Promise.all(Array.from({ length: 10 }, request));
      await replica.lag(100);
      await Promise.all(Array.from({ length: 5 }, request));
      const { primaryReasons, offload } = database.routing();
      expect(offload).toBeGreaterThan(0);
      expect(primaryReasons).toMatchObject({ token: expect.any(Number) as number });
    });

    test('reads of the primary cannot write, limits hold in transactions, and nothing leaks to the next client', async () => {
      const database = await open({ replicaUrls: [], pool: { statementTimeoutMs: 300 } });
      for (const options of [{}, { snapshot: true }, { seen: new Seen() }]) {
        const write = database.readOnly((db) => db.query(insert), options);
        expect(sqlState(await write.catch((error: unknown) => error))).toBe('25006');
        expect(await database.readOnly((db) => db.one(sql`select ${1}::int as one`), options)).toEqual({
          one: 1,
        });
      }
      const slow = sql`select pg_sleep(2)`;
      await expect(database.readOnly((db) => db.query(slow))).rejects.toMatchObject({
        code: 'PL_STATEMENT_TIMEOUT',
      });
      await expect(database.transaction((tx) => tx.query(slow))).rejects.toMatchObject({
        code: 'PL_STATEMENT_TIMEOUT',
      });
      for (let round = 0; round < 4; round += 1) {
        expect(await database.one(sql`show statement_timeout`)).toEqual({ statement_timeout: '0' });
        expect(await database.one(sql`show transaction_read_only`)).toEqual({ transaction_read_only: 'off' });
      }
    });

    test('one URL for several servers: session is refused at the start, eventual and strong work', async () => {
      const refused = open({ routing: { pooler: 'opaque' } });
      await expect(refused).rejects.toMatchObject({ code: 'PL_CONFIG' });
      await expect(refused).rejects.toThrow(/opaque pooler nobody knows which server answers/);
      const database = await open({ consistency: 'eventual', routing: { pooler: 'opaque' } });
      await serving(database);
      const standby = sql`select pg_is_in_recovery() as standby`;
      expect(await database.readOnly((db) => db.one(standby))).toEqual({ standby: true });
      const strong = { consistency: 'strong' } as const;
      expect(await database.readOnly((db) => db.one(standby), strong)).toEqual({ standby: false });
      await expect(database.readOnly((db) => db.one(standby), { consistency: 'ryw' })).rejects.toMatchObject({
        code: 'PL_CONFIG',
      });
    });

    test('a restart that the pooler hides is noticed by the read itself', async () => {
      // Nothing is asked of the replica in between, so what is known of it is from before the restart.
      const database = await open({ routing: { pollMs: 60_000, idlePollMs: 60_000 } });
      const seen = new Seen();
      // A replica begins again where its last checkpoint was: with the table, without the row.
      for (const url of [server.url, ...server.replicaUrls]) {
        await replica.caughtUp();
        await using there = createDatabase({ url });
        await there.execute(sql`checkpoint`);
      }
      const { id } = await database.transaction((tx) => tx.one<{ id: number }>(insert), { seen });
      await replica.caughtUp();
      await expect
        .poll(async () => {
          const before = database.routing().offload;
          expect(await database.readOnly((db) => db.maybeOne(find(id)), { seen })).toEqual({ id });
          return database.routing().offload > before;
        })
        .toBe(true);
      // It begins with less than it had, and stays there.
      await replica.lag(60_000);
      await replica.restart('immediate');
      await using there = createDatabase({ url: server.replicaUrls[0] ?? '' });
      expect(await there.maybeOne(find(id))).toBeUndefined();
      for (let read = 0; read < 10; read += 1)
        expect(await database.readOnly((db) => db.maybeOne(find(id)), { seen })).toEqual({ id });
      expect(database.routing().primaryReasons).toMatchObject({ conflict: expect.any(Number) as number });
    });
  },
);
