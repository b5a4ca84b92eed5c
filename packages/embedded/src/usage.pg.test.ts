import pg from 'pg';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, runningCluster, startCluster, type TestDatabase } from './index.ts';

/** The examples of docs/patterns/embedded.md, executed. */
test('a cluster in a program', async () => {
  // #region program
  await using cluster = await startCluster({ replicas: 1 });
  const [replica] = cluster.replicas;
  const pool = new pg.Pool({ connectionString: cluster.primary.url });
  await pool.query('create table note (text text)');
  await replica?.caughtUp(); // everything the primary has flushed can now be read on the replica
  await replica?.lag(500); // from now on every commit arrives there half a second later
  await pool.end();
  // #endregion program
  expect(cluster.fresh).toBe(true);
  // How another program reaches it, while this one lives.
  expect(runningCluster(cluster.directory)).toEqual({
    url: cluster.primary.url,
    replicaUrls: [replica?.url],
  });
  await cluster.stop();
  expect(runningCluster(cluster.directory)).toBeUndefined();
});

// #region test
let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase(inject('cluster'));
});
afterAll(() => database?.drop());

test('each file has a database of its own', async () => {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  await client.query('create table note (text text)');
  await client.end();
});
// #endregion test
