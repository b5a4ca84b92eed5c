import pg from 'pg';
import { expect, inject, onTestFinished, test } from 'vitest';
import { query } from '../test/query.ts';
import { withClient } from './client.ts';
import { createTestDatabase, startCluster, type TestDatabase, type TestDatabaseOptions } from './index.ts';

const made = async (options: Partial<TestDatabaseOptions> = {}): Promise<TestDatabase> => {
  const database = await createTestDatabase({ ...inject('cluster'), ...options });
  onTestFinished(() => database.drop());
  return database;
};

test('clones of one template are alike, apart from each other, and there on the replicas', async () => {
  const template = await made();
  await query(template.url, 'create table item (id int)');
  await query(template.url, 'insert into item values (1)');
  const [one, two] = await Promise.all([
    made({ template: template.name }),
    made({ template: template.name }),
  ]);
  await query(one!.url, 'insert into item values (2)');
  expect(await query(one!.url, 'select id from item order by id')).toEqual([{ id: 1 }, { id: 2 }]);
  expect(await query(two!.url, 'select id from item')).toEqual([{ id: 1 }]);
  expect(two!.replicaUrls).toHaveLength(inject('cluster').replicaUrls.length);
  for (const url of two!.replicaUrls) expect(await query(url, 'select id from item')).toEqual([{ id: 1 }]);
});

test('drop disconnects who is left, and may be called twice', async () => {
  const database = await made();
  await withClient(database.url, async (connection) => {
    await connection.rows('select 1');
    await database.drop();
    await expect(connection.rows('select 1')).rejects.toThrow();
  });
  await database.drop();
  await expect(query(database.url, 'select 1')).rejects.toThrow(/does not exist/);
});

test('drop lets those finish who are about to leave', async () => {
  const database = await made();
  const client = new pg.Client({ connectionString: database.url });
  const cut: unknown[] = [];
  client.on('error', (error) => cut.push(error));
  await client.connect();
  const leaving = client.query('select pg_sleep(0.1)').then(() => client.end());
  await Promise.all([leaving, database.drop()]);
  expect(cut).toEqual([]);
});

test('a template somebody is connected to is an error that says so', async () => {
  const template = await made();
  await withClient(template.url, async (connection) => {
    await connection.rows('select 1');
    await expect(made({ template: template.name, timeoutMs: 500 })).rejects.toThrow(
      /could not be made from template test_.*(being accessed by other users; close every connection|timeout)/,
    );
  });
});

test('a template that does not exist is an error that names it', async () => {
  await expect(made({ template: 'nowhere' })).rejects.toThrow(
    /template nowhere at 127.0.0.1:\d+.*does not exist/,
  );
});

test('a replica that does not replay is named within the time given, and the clone is gone', async () => {
  await using cluster = await startCluster();
  const [replica] = cluster.replicas;
  await replica!.pause();
  const options = {
    primaryUrl: cluster.primary.url,
    replicaUrls: [replica!.url],
    name: 'late',
    timeoutMs: 700,
  };
  await expect(createTestDatabase(options)).rejects.toThrow(
    new RegExp(
      `replica at 127.0.0.1:${replica!.port}/postgres could not be connected to database late within`,
    ),
  );
  expect(await query(cluster.primary.url, "select from pg_database where datname = 'late'")).toEqual([]);
});
