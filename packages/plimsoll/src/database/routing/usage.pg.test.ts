import { createTestDatabase } from '@plimsoll/embedded';
import { expect, inject, test } from 'vitest';
import { createDatabase, migrate, routingMigrations, Seen, sql } from 'plimsoll/database';

test.skipIf(inject('cluster').replicaUrls.length === 0)(
  'what the page shows (skipped without a replica)',
  async () => {
    const server = await createTestDatabase(inject('cluster'));
    const { url: primaryUrl, replicaUrls } = server;
    try {
      // #region open
      await using database = createDatabase({
        url: primaryUrl,
        replicaUrls,
        routing: { lagBudgetMs: 2_000, canaryMs: 10_000 },
      });
      await migrate(database, [routingMigrations]);
      // #endregion
      await database.execute(sql`create table account (id int primary key, balance int not null)`);
      await database.execute(sql`insert into account values (7, 100)`);
      await database.ping();
      const id = 7;

      // #region seen
      // One for each client: in a request it is in the context, and nothing has to be passed.
      const seen = new Seen();
      await database.transaction(
        (tx) => tx.execute(sql`update account set balance = balance - ${5} where id = ${id}`),
        { seen },
      );
      const account = await database.readOnly(
        (db) => db.one<{ balance: number }>(sql`select balance from account where id = ${id}`),
        { seen },
      );
      // #endregion
      expect(account).toEqual({ balance: 95 });

      // #region levels
      const totals = sql`select sum(balance)::int as total from account`;
      await database.readOnly((db) => db.one(totals), { consistency: 'eventual', maxStalenessMs: 5_000 });
      await database.readOnly((db) => db.one(totals), { consistency: 'strong' });
      // #endregion

      // #region snapshot
      const report = await database.readOnly(
        async (db) => ({
          accounts: await db.query(sql`select id, balance from account order by id`),
          total: await db.one(sql`select sum(balance)::int as total from account`),
        }),
        { snapshot: true, seen },
      );
      // #endregion
      expect(report).toEqual({ accounts: [{ id: 7, balance: 95 }], total: { total: 95 } });

      // #region state
      const { offload, fallback, primaryReasons, replicas, canary } = database.routing();
      // #endregion
      expect(offload + fallback).toBeGreaterThan(0);
      expect(Object.values(primaryReasons).every((count) => count > 0)).toBe(true);
      expect(replicas).toMatchObject([{ server: 'replica-1' }]);
      expect(canary.violations).toBe(0);
    } finally {
      await server.drop();
    }
  },
);
