import { once } from 'node:events';
import { mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, test, type TestContext } from 'vitest';
import { query } from '../test/query.ts';
import { scratch } from '../test/scratch.ts';
import { startCluster, type Cluster, type ClusterOptions } from './index.ts';

const notes = async (url: string): Promise<string[]> =>
  (await query<{ text: string }>(url, 'select text from note order by text')).map((row) => row.text);

/** Runs one start of a kept cluster after another over the same directory. */
async function during(
  ctx: TestContext,
  options: ClusterOptions,
  use: (cluster: Cluster) => Promise<void>,
): Promise<string> {
  const lines: string[] = [];
  const cluster = await startCluster({ ...options, log: (line) => lines.push(line) });
  ctx.onTestFinished(() => cluster.stop());
  try {
    await use(cluster);
  } finally {
    await cluster.stop();
  }
  return lines.join('\n');
}

test.concurrent('a kept directory comes up again: same data, same ports; other ports when they are taken; more replicas', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  let ports: number[] = [];
  await during(ctx, { dataDir }, async ({ primary, replicas, fresh }) => {
    expect(fresh).toBe(true);
    await query(primary.url, "create table note as select 'first' as text");
    ports = [primary.port, replicas[0]!.port];
  });
  const said = await during(ctx, { dataDir }, async ({ primary, replicas, fresh }) => {
    expect(fresh).toBe(false);
    expect([primary.port, replicas[0]!.port]).toEqual(ports);
    await query(primary.url, "insert into note values ('second')");
    await replicas[0]!.caughtUp();
    expect(await notes(replicas[0]!.url)).toEqual(['first', 'second']);
  });
  expect(said).toBe('');

  const taken = ports.map((port) => createServer().listen(port, '127.0.0.1'));
  ctx.onTestFinished(() => taken.forEach((server) => void server.close()));
  await Promise.all(taken.map((server) => once(server, 'listening')));
  await during(ctx, { dataDir, replicas: 2 }, async ({ primary, replicas }) => {
    expect(
      [primary.port, ...replicas.map((replica) => replica.port)].filter((port) => ports.includes(port)),
    ).toEqual([]);
    await query(primary.url, "insert into note values ('third')");
    for (const replica of replicas) {
      await replica.caughtUp();
      expect(await notes(replica.url)).toEqual(['first', 'second', 'third']);
    }
  });
});

test.concurrent('a promoted, a half-copied, a spoiled and a diverged replica are seeded again; a promoted one is kept aside', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  await during(ctx, { dataDir, replicas: 3 }, async ({ primary, replicas }) => {
    await query(primary.url, "create table note as select 'kept' as text");
    const [promoted, diverged] = replicas;
    await promoted!.caughtUp();
    await promoted!.promote();
    await query(promoted!.url, "insert into note values ('written on the promoted one')");
    await diverged!.reseed(promoted);
    await diverged!.caughtUp();
  });
  truncateSync(join(dataDir, 'replica-3/global/pg_control'), 100);
  mkdirSync(join(dataDir, 'replica-2.seeding/base'), { recursive: true });
  const said = await during(ctx, { dataDir, replicas: 3 }, async ({ primary, replicas }) => {
    await query(primary.url, "insert into note values ('new')");
    for (const replica of replicas) {
      await replica.caughtUp();
      expect(await notes(replica.url)).toEqual(['kept', 'new']);
    }
  });
  expect(said).toMatch(/moved .*replica-1 to .*not-a-standby/);
  expect(said).toMatch(/removing replica-2.seeding/);
  expect(said).toMatch(
    /replica-2 cannot follow the primary and is seeded again: .*(behind recovery timeline|not in this server's history|forked off)/,
  );
  expect(said).toMatch(/replica-3 cannot follow the primary and is seeded again: /);
  const names = readdirSync(dataDir);
  expect(names.filter((name) => name.startsWith('replica-1.not-a-standby'))).toHaveLength(1);
  expect(names.filter((name) => /seeding|replaced/.test(name))).toEqual([]);
});

test.concurrent('a replica that was away for longer than its slot lasts is seeded again', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  await during(ctx, { dataDir }, ({ primary }) =>
    query(primary.url, "create table note as select 'old' as text").then(() => undefined),
  );
  await during(
    ctx,
    { dataDir, replicas: 0, settings: { wal_keep_size: '0', max_wal_size: '32MB' } },
    async ({ primary }) => {
      for (let round = 0; round < 3; round += 1) {
        await query(primary.url, 'select pg_switch_wal()');
        await query(primary.url, "insert into note values ('x')");
        await query(primary.url, 'checkpoint');
      }
      expect(await query(primary.url, 'select from pg_replication_slots')).toEqual([]);
    },
  );
  const said = await during(ctx, { dataDir }, async ({ primary, replicas }) => {
    await replicas[0]!.caughtUp();
    expect(await notes(replicas[0]!.url)).toEqual(await notes(primary.url));
  });
  expect(said).toMatch(/replica-1 cannot follow the primary and is seeded again: .*has already been removed/);
});

test.concurrent('what is no data is made anew; what may be data is refused and left alone', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  await during(ctx, { dataDir, replicas: 0 }, async () => undefined);

  // An interrupted initdb, and data without its control file.
  mkdirSync(join(dataDir, 'primary.initialising/base'), { recursive: true });
  rmSync(join(dataDir, 'primary/global/pg_control'));
  const said = await during(ctx, { dataDir, replicas: 0 }, async ({ primary, fresh }) => {
    expect(fresh).toBe(true);
    await query(primary.url, 'select count(*) from pg_stat_statements');
  });
  expect(said).toMatch(/removing primary.initialising, left by a run that was interrupted/);
  expect(said).toMatch(/moved .*primary to .*primary.incomplete-/);

  writeFileSync(join(dataDir, 'primary/PG_VERSION'), '16\n');
  await expect(startCluster({ dataDir })).rejects.toThrow(
    /made by PostgreSQL 16 and the installed programs are 18/,
  );
  writeFileSync(join(dataDir, 'primary/PG_VERSION'), '18\n');

  rmSync(join(dataDir, 'password'));
  await expect(startCluster({ dataDir })).rejects.toThrow(
    /with the password of the database is missing: put it back/,
  );
});

test.concurrent('a directory with the files of others is refused and left alone', async (ctx) => {
  const dataDir = scratch(ctx);
  writeFileSync(join(dataDir, 'PG_VERSION'), '18\n');
  writeFileSync(join(dataDir, 'thesis.txt'), 'x');
  await expect(startCluster({ dataDir })).rejects.toThrow(
    /not made by this package .*another PostgreSQL server/,
  );
  expect(readdirSync(dataDir).toSorted()).toEqual(['PG_VERSION', 'thesis.txt']);
});

test.concurrent('`fresh` throws the kept data away', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  await during(ctx, { dataDir }, ({ primary }) =>
    query(primary.url, 'create table note (text text)').then(() => undefined),
  );
  await during(ctx, { dataDir, fresh: true }, async ({ primary, replicas, fresh }) => {
    expect(fresh).toBe(true);
    for (const { url } of [primary, ...replicas])
      expect(await query(url, "select 1 from pg_class where relname = 'note'")).toEqual([]);
  });
});
