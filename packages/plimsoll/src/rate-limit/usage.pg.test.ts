import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
// #region postgres
import pg from 'pg';
import { createDatabase, migrate } from 'plimsoll/database';
import { createRateLimit, postgresStore, rateLimitMigrations, type RateLimit } from 'plimsoll/rate-limit';

async function limitIn(url: string): Promise<{ limit: RateLimit<string>; pool: pg.Pool }> {
  const database = createDatabase({ url });
  await migrate(database, [rateLimitMigrations]);
  await database.close();
  // A pool of its own: a flood of requests does not take the connections of the work.
  const pool = new pg.Pool({ connectionString: url, max: 4, connectionTimeoutMillis: 1_000 });
  const limit = createRateLimit<string>({
    name: 'api',
    rules: [{ kind: 'rate', name: 'client', limit: 100, perMs: 60_000, key: (client) => client }],
    store: postgresStore(pool),
    whenStoreFails: 'open',
    storeTimeoutMs: 500,
  });
  return { limit, pool };
}
// #endregion

test('counters in PostgreSQL', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const { limit, pool } = await limitIn(server.url);
  try {
    await expect
      .poll(async () => limit.take('203.0.113.9'), { timeout: 10_000 })
      .toMatchObject({ allowed: true, degraded: undefined });
  } finally {
    await pool.end();
    await server.drop();
  }
});
