import { execFileSync } from 'node:child_process';
import { startCluster, type Replica, type Server } from '@plimsoll/embedded';
import { cacheMigrations } from 'plimsoll/cache';
import { createDatabase, migrate, routingMigrations, sql } from 'plimsoll/database';
import pg from 'pg';
import { startProxy, throughPort, type Proxy } from './proxy.ts';

/** A primary and two standbys; which is which changes with each promotion. */
export interface Servers {
  readonly all: readonly Replica[];
  primary: Replica;
  /** Where the processes find the primary. */
  readonly proxy: Proxy;
  readonly primaryUrl: string;
  standbys(): readonly [Replica, Replica];
  /** Asks one server, on a connection of its own. */
  ask<T>(server: Server, text: string, values?: readonly unknown[]): Promise<T[]>;
}

export const keys = 50;

export async function startServers(
  stack: AsyncDisposableStack,
  say: (line: string) => void,
): Promise<Servers> {
  const cluster = stack.use(await startCluster({ replicas: 3 }));
  const all = cluster.replicas;
  const [first, one, two] = all;
  if (first === undefined || one === undefined || two === undefined) throw new Error('there are no replicas');
  say('three servers are there; the first becomes the primary, so that each of them can be a standby again');
  await first.caughtUp();
  await first.promote();
  await cluster.primary.kill();
  await Promise.all([one.reseed(first), two.reseed(first)]);

  {
    await using admin = createDatabase({ url: first.url });
    await migrate(admin, [routingMigrations, cacheMigrations]);
    await admin.execute(sql`create table left_token (id serial primary key, token text not null)`);
    await admin.execute(
      sql`create table kv (key text primary key, version int not null, history int not null, note text not null)`,
    );
    await admin.execute(
      sql`insert into kv select 'k' || n, 0, 0, '' from generate_series(0, ${keys - 1}::int) n`,
    );
  }
  await Promise.all([one.caughtUp(), two.caughtUp()]);
  const proxy = stack.use(await startProxy(first.port));
  const servers: Servers = {
    all,
    primary: first,
    proxy,
    primaryUrl: throughPort(first.url, proxy.port),
    standbys() {
      const [a, b] = all.filter((server) => server !== servers.primary);
      if (a === undefined || b === undefined) throw new Error('there are no two standbys');
      return [a, b];
    },
    async ask<T>(server: Server, text: string, values: readonly unknown[] = []) {
      const client = new pg.Client({ connectionString: server.url, query_timeout: 10_000 });
      client.on('error', () => undefined);
      await client.connect();
      try {
        return (await client.query(text, [...values])).rows as T[];
      } finally {
        await client.end().catch(() => undefined);
      }
    },
  };
  return servers;
}

/** A server and all processes under it. */
export function signalTree(pid: number, signal: NodeJS.Signals): void {
  const table = execFileSync('ps', ['-Ao', 'pid=,ppid='], { encoding: 'utf8' });
  const children = table
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([child, parent]) => (parent === pid && child !== undefined ? [child] : []));
  for (const each of [pid, ...children]) signalIfThere(each, signal);
}

export function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended since it was listed.
  }
}
