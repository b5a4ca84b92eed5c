import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { startCluster, type Cluster, type Replica, type TestDatabase } from '@plimsoll/embedded';
import { cacheMigrations } from '../../src/cache/migrations.ts';
import { createDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrate.ts';
import { startRelay, type Relay } from '../../src/database/routing/fixtures/relay.ts';
import { routingMigrations } from '../../src/database/routing/migrations.ts';
import { sql, trustedSql } from '../../src/database/sql.ts';
import { parseLsn, type Lsn } from '../../src/kernel/seen.ts';

/** Waits for what takes the servers a moment. */
export async function until(what: string, condition: () => Promise<boolean> | boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited 20 s for: ${what}`);
    await delay(2);
  }
}

/** One primary and two replicas for all schedules, one after the other. */
export class Stage implements AsyncDisposable {
  readonly one: Replica;
  readonly two: Replica;
  readonly server: TestDatabase;
  /** The primary, past all routing. */
  readonly admin: Database;
  readonly #cluster: Cluster;
  #keys = 0;
  /** Undone by `reset`. */
  readonly #changed = new Set<'paused' | 'late' | 'synchronous'>();
  /** Set when the first replica has become a primary of its own: then the last schedules have begun. */
  #fork: { readonly key: string; readonly relay: Relay } | undefined;

  private constructor(cluster: Cluster, server: TestDatabase) {
    this.#cluster = cluster;
    [this.one, this.two] = cluster.replicas as [Replica, Replica];
    this.server = server;
    this.admin = createDatabase({ url: server.url });
  }

  static async open(): Promise<Stage> {
    // An asynchronous commit stays off the disk until somebody else's goes there.
    const cluster = await startCluster({ replicas: 2, settings: { wal_writer_delay: '10s' } });
    const stage = new Stage(cluster, await cluster.createDatabase());
    await migrate(stage.admin, [routingMigrations, cacheMigrations]);
    await stage.admin.execute(sql`create table item (key text primary key, version int not null default 1)`);
    await stage.admin.execute(sql`create table filler (text text)`);
    const { url, replicaUrls } = stage.server;
    // The first router writes the row of the epoch, which the schedules do not expect.
    await using router = createDatabase({ url, replicaUrls });
    await router.ping();
    return stage;
  }

  /** A row at version 1, on all servers. */
  async newKey(): Promise<string> {
    if (this.#fork !== undefined) return this.#fork.key;
    this.#keys += 1;
    const key = `item-${this.#keys}`;
    await this.admin.execute(sql`insert into item (key) values (${key})`);
    await this.caughtUp();
    return key;
  }

  async caughtUp(): Promise<void> {
    await Promise.all([this.one.caughtUp(), this.two.caughtUp()]);
  }

  /** Both replicas show what they show now. */
  async pause(...replicas: readonly Replica[]): Promise<void> {
    this.#changed.add('paused');
    await Promise.all(replicas.map((replica) => replica.pause()));
  }

  /** No commit from now on is shown by them, while the rest of the log is replayed. */
  async delayCommits(...replicas: readonly Replica[]): Promise<void> {
    this.#changed.add('late');
    await Promise.all(replicas.map((replica) => replica.lag(300_000)));
  }

  /** With the name of a standby that is not there, commits hang after they were written. */
  async waitForStandby(name: string): Promise<void> {
    this.#changed.add('synchronous');
    await this.admin.execute(sql`alter system set synchronous_standby_names = ${trustedSql(`'${name}'`)}`);
    await this.admin.execute(sql`select pg_reload_conf()`);
    await until(
      `synchronous_standby_names ${name}`,
      async () =>
        (await this.admin.one(sql`show synchronous_standby_names`))['synchronous_standby_names'] === name,
    );
  }

  async reset(): Promise<void> {
    if (this.#changed.has('synchronous')) await this.waitForStandby('');
    for (const replica of this.#fork === undefined ? [this.one, this.two] : [this.two]) {
      if (!replica.running) await replica.restart();
      if (this.#changed.has('paused')) await replica.resume();
      if (this.#changed.has('late')) await replica.lag(0);
    }
    this.#changed.clear();
  }

  /** A connection of its own to the database on one server; to be ended. */
  async connect(url: string): Promise<pg.Client> {
    const client = new pg.Client(url);
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  urlOf(replica: Replica): string {
    return this.server.replicaUrls[replica === this.one ? 0 : 1] ?? '';
  }

  async positionOf(url: string): Promise<Lsn> {
    const client = await this.connect(url);
    try {
      const { rows } = await client.query<{ at: string }>(
        'select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end::text as at',
      );
      return parseLsn(rows[0]?.at ?? '') ?? 0n;
    } finally {
      await client.end();
    }
  }

  /**
   * From now on the first replica is a primary with a history of its own, which lacks what the old one wrote after it. The
   * second replica stays with the old one and is further, by number. What `relay` points at is the primary.
   */
  async fork(): Promise<{ readonly relay: Relay; readonly old: string; readonly promoted: string }> {
    const [old, promoted] = [this.server.url, this.urlOf(this.one)];
    if (this.#fork === undefined) {
      const key = await this.newKey();
      this.#fork = { key, relay: await startRelay(old) };
      await this.one.promote();
      await this.admin.execute(
        sql`insert into filler select repeat('x', 1000) from generate_series(1, 5000)`,
      );
      await this.two.caughtUp();
    }
    return { relay: this.#fork.relay, old, promoted };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fork?.relay[Symbol.asyncDispose]();
    await this.admin.close();
    await this.#cluster.stop();
  }
}
