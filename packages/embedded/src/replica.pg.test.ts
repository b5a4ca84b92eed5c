import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { query } from '../test/query.ts';
import { readProcess, childrenOf } from './process-table.ts';
import { sharedMemoryOf } from './shared-memory.ts';
import { startCluster, type Cluster, type Replica } from './index.ts';

let cluster: Cluster;
let replica: Replica;
let other: Replica;

beforeAll(async () => {
  cluster = await startCluster({ replicas: 2 });
  [replica, other] = cluster.replicas as [Replica, Replica];
  await query(cluster.primary.url, 'create table counter (id int primary key)');
});
afterAll(() => cluster?.stop());

const count = async (url: string): Promise<number> => {
  const [row] = await query<{ n: number }>(url, 'select count(*)::int as n from counter');
  return row?.n ?? -1;
};
let last = 0;
const insert = async (): Promise<number> => {
  last += 1;
  await query(cluster.primary.url, 'insert into counter values ($1)', [last]);
  return count(cluster.primary.url);
};

test('a paused replica stays behind until it is resumed', async () => {
  await replica.caughtUp();
  await replica.pause();
  const before = await count(replica.url);
  const rows = await insert();
  await expect(replica.caughtUp({ timeoutMs: 300 })).rejects.toThrow(
    /replica-1.caughtUp\(\): .*replay is paused.*resume\(\)/,
  );
  expect(await count(replica.url)).toBe(before);
  await other.caughtUp();
  expect(await count(other.url)).toBe(rows);
  await replica.resume();
  await replica.caughtUp();
  expect(await count(replica.url)).toBe(rows);
});

test('a lagging replica applies a commit that much later, and lag(0) ends the delay at once', async () => {
  await replica.lag(700);
  const start = performance.now();
  const rows = await insert();
  expect(await count(replica.url)).toBeLessThan(rows);
  await replica.caughtUp();
  expect(performance.now() - start).toBeGreaterThan(650);
  await replica.lag(60_000);
  const more = await insert();
  expect(await count(replica.url)).toBeLessThan(more);
  await replica.lag(0);
  await replica.caughtUp();
  expect(await count(replica.url)).toBe(more);
  await expect(replica.lag(-1)).rejects.toThrow(/lag\(-1\).*from 0/);
});

test('pause while a delay is waited out, and resume', async () => {
  await replica.lag(60_000);
  const rows = await insert();
  await replica.pause();
  await replica.lag(0);
  expect(await count(replica.url)).toBeLessThan(rows);
  await replica.resume();
  await replica.caughtUp();
  expect(await count(replica.url)).toBe(rows);
});

test('kill ends the postmaster and its children; restart brings the same data back on the same port', async () => {
  await insert();
  await replica.caughtUp();
  for (const server of [replica, cluster.primary]) {
    const { pid, url } = server;
    const children = childrenOf(pid);
    expect(children.length).toBeGreaterThan(3);
    const memory = sharedMemoryOf([{ pid, startedAt: '' }, ...children]);
    await server.kill();
    expect(server.running).toBe(false);
    if (process.platform === 'linux') expect(memory.files.length).toBeGreaterThan(0);
    expect(memory.files.filter((file) => existsSync(file))).toEqual([]);
    expect([pid, ...children.map((child) => child.pid)].map(readProcess)).toEqual(
      [pid, ...children].map(() => undefined),
    );
    await expect(query(url, 'select 1')).rejects.toThrow(/ECONNREFUSED/);
    await server.restart();
    expect(server.url).toBe(url);
    expect(server.pid).not.toBe(pid);
    expect(await count(url)).toBeGreaterThan(0);
  }
  const rows = await insert();
  await replica.caughtUp();
  expect(await count(replica.url)).toBe(rows);
});

test('a replica that is down answers with what to do', async () => {
  await replica.kill();
  await expect(replica.pause()).rejects.toThrow(
    'replica-1.pause(): the server is down; call restart() first.',
  );
  await insert();
  await replica.restart('immediate');
  await replica.caughtUp();
});

test('restart in both modes keeps commits', async () => {
  for (const mode of ['fast', 'immediate'] as const) {
    const rows = await insert();
    await cluster.primary.restart(mode);
    expect(await count(cluster.primary.url)).toBe(rows);
    await Promise.all([replica.caughtUp(), other.caughtUp()]);
  }
});

test('a promoted replica takes writes, another can follow it, and reseed makes it a standby again', async () => {
  const rows = await insert();
  await replica.caughtUp();
  await replica.promote();
  expect(replica.role).toBe('promoted');
  await query(replica.url, 'insert into counter values (100000)');
  await expect(replica.promote()).rejects.toThrow(/it was promoted.*reseed/);
  await replica.restart();
  expect(await count(replica.url)).toBe(rows + 1);
  const database = await cluster.createDatabase();
  expect(database.replicaUrls).toHaveLength(1);
  await database.drop();

  await other.reseed(replica);
  await other.caughtUp();
  expect(await count(other.url)).toBe(rows + 1);
  await expect(other.reseed(other)).rejects.toThrow(/can only be seeded from a writable server/);

  await other.reseed(cluster.primary);
  await replica.reseed(cluster.primary);
  expect(replica.role).toBe('standby');
  const more = await insert();
  await Promise.all([replica.caughtUp(), other.caughtUp()]);
  expect([await count(replica.url), await count(other.url)]).toEqual([more, more]);
  await expect(query(replica.url, 'insert into counter values (0)')).rejects.toThrow(/read-only/);
});

test('a replica is seeded while the primary is being written to, and loses nothing', async () => {
  let writing = true;
  const writes = (async (): Promise<void> => {
    while (writing) await insert();
  })();
  try {
    await replica.reseed();
  } finally {
    writing = false;
    await writes;
  }
  await replica.caughtUp();
  expect(await count(replica.url)).toBe(await count(cluster.primary.url));
});
