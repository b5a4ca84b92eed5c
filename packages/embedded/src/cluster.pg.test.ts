import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test, type TestContext } from 'vitest';
import { nothingLeft, processesOf, query } from '../test/query.ts';
import { scratch } from '../test/scratch.ts';
import { startCluster, type Cluster, type ClusterOptions } from './index.ts';

async function started(ctx: TestContext, options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = await startCluster(options);
  ctx.onTestFinished(() => cluster.stop());
  return cluster;
}

let shared: Cluster;
beforeAll(async () => {
  shared = await startCluster({ settings: { work_mem: '7MB', shared_preload_libraries: 'auto_explain' } });
});
afterAll(() => shared?.stop());

test.concurrent('what the primary commits can be read on the replica, and nowhere written', async () => {
  const cluster = shared;
  const [replica] = cluster.replicas;
  expect(cluster.fresh).toBe(true);
  await query(cluster.primary.url, 'create table note (text text)');
  await query(cluster.primary.url, "insert into note values ('hello')");
  await replica!.caughtUp();
  expect(await query(replica!.url, 'select text from note')).toEqual([{ text: 'hello' }]);
  await expect(query(replica!.url, "insert into note values ('x')")).rejects.toThrow(/read-only transaction/);
  const [sender] = await query(
    cluster.primary.url,
    'select state, application_name from pg_stat_replication',
  );
  expect(sender).toEqual({ state: 'streaming', application_name: 'replica_1' });
});

test.concurrent('both servers have the promised settings and pg_stat_statements', async () => {
  const cluster = shared;
  const names = [
    'fsync',
    'listen_addresses',
    'max_connections',
    'server_encoding',
    'server_version',
    'TimeZone',
    'work_mem',
  ];
  for (const server of [cluster.primary, ...cluster.replicas]) {
    const rows = await query<{ name: string; setting: string }>(
      server.url,
      'select name, setting from pg_settings where name = any ($1)',
      [[...names, 'unix_socket_directories', 'shared_preload_libraries', 'wal_level']],
    );
    const settings = Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
    expect(settings).toMatchObject({
      fsync: 'on',
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      max_connections: '200',
      server_encoding: 'UTF8',
      TimeZone: 'UTC',
      wal_level: 'replica',
      work_mem: String(7 * 1024),
      shared_preload_libraries: 'auto_explain,pg_stat_statements',
    });
    expect(settings['server_version']).toMatch(/^18\./);
    await query(server.url, 'select count(*) from pg_stat_statements');
  }
  const database = await cluster.createDatabase();
  await query(database.url, 'select count(*) from pg_stat_statements');
  const [locale] = await query(
    database.url,
    'select datlocprovider, datlocale from pg_database where datname = current_database()',
  );
  expect(locale).toEqual({ datlocprovider: 'b', datlocale: 'C.UTF-8' });
});

test.concurrent('a wrong password is refused, for replication too, and the right one is readable by its owner only', async () => {
  const cluster = shared;
  const file = join(cluster.directory, 'password');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(cluster.primary.url).toContain(readFileSync(file, 'utf8').trim());
  for (const server of [cluster.primary, ...cluster.replicas])
    for (const replication of [undefined, 'true']) {
      const client = new pg.Client({
        host: '127.0.0.1',
        port: server.port,
        user: 'postgres',
        password: 'wrong',
        database: 'postgres',
        ...(replication && { replication }),
      });
      client.on('error', () => undefined);
      await expect(client.connect()).rejects.toThrow(/password authentication failed/);
      await client.end();
    }
});

test.concurrent('two clusters run at once, and none disturbs the other', async (ctx) => {
  const [one, two] = await Promise.all([started(ctx, { replicas: 0 }), started(ctx, { replicas: 2 })]);
  await query(one!.primary.url, 'create table only_here ()');
  const found = await query(two!.primary.url, "select from pg_class where relname = 'only_here'");
  expect(found).toEqual([]);
  expect(two!.replicas.map((replica) => replica.name)).toEqual(['replica-1', 'replica-2']);
  await one!.stop();
  await query(two!.replicas[1]!.url, 'select 1');
});

test.concurrent('stop leaves no process and no directory, called twice, at once and after', async (ctx) => {
  const cluster = await started(ctx);
  expect(processesOf(cluster.directory).length).toBeGreaterThan(2);
  await Promise.all([cluster.stop(), cluster.stop()]);
  expect(processesOf(cluster.directory)).toEqual([]);
  expect(existsSync(cluster.directory)).toBe(false);
  await cluster.stop();
  await expect(cluster.primary.restart()).rejects.toMatchObject({ code: 'PL_EMBEDDED_STOPPED' });
  await expect(cluster.createDatabase()).rejects.toMatchObject({ code: 'PL_EMBEDDED_STOPPED' });
});

test.concurrent('stop while a server restarts and a replica is seeded leaves nothing either', async (ctx) => {
  const cluster = await started(ctx);
  const under = Promise.allSettled([cluster.primary.restart(), cluster.replicas[0]!.reseed()]);
  await cluster.stop();
  await under;
  expect(processesOf(cluster.directory)).toEqual([]);
  expect(existsSync(cluster.directory)).toBe(false);
});

test.concurrent('await using stops it', async () => {
  let directory: string;
  {
    await using cluster = await startCluster({ replicas: 0 });
    directory = cluster.directory;
  }
  await nothingLeft(directory);
});

test.concurrent('a port that was asked for and is taken is an error that names it, and leaves nothing', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  ctx.onTestFinished(() => void taken.close());
  const address = taken.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await expect(startCluster({ port, dataDir })).rejects.toThrow(
    new RegExp(`Port ${port} .* leave \`port\` out`),
  );
  expect(processesOf(dataDir)).toEqual([]);
  expect(existsSync(join(dataDir, 'lock'))).toBe(false);
});

test.concurrent('a server that does not start says why, with the end of its log', async () => {
  await expect(startCluster({ settings: { shared_buffers: 'plenty' } })).rejects.toThrow(
    /did not start: it ended with code 1[^]*invalid value for parameter "shared_buffers": "plenty"/,
  );
});

test.concurrent('all problems of the options are reported at once', async () => {
  const error = startCluster({
    replicas: 1.5,
    port: 70_000,
    dataDir: ' ',
    settings: { port: '1', 'a b': 'c' },
  });
  await expect(error).rejects.toThrow(
    /replicas is 1.5.*port is 70000.*dataDir is empty.*settings.port is decided.*'a b' is not/,
  );
});
