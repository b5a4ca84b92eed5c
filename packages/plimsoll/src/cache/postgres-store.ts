import { background } from '../kernel/channels.ts';
import type { Clock } from '../kernel/clock.ts';
import type { PostgresClient } from '../rate-limit/postgres-store.ts';
import { storedKey } from '../rate-limit/store.ts';
import {
  randomVersion,
  type SharedAnswer,
  type SharedAsk,
  type SharedFill,
  type SharedInvalidation,
  type SharedStore,
  type SharedTable,
  type SharedTableOptions,
} from './shared-store.ts';

export interface PostgresCacheStoreOptions {
  /** How long the position of an invalidation is kept, so that a replica that lags fills nothing. Default an hour. */
  readonly floorMs?: number;
}

export const postgresCacheStoreDefaults: Required<PostgresCacheStoreOptions> = { floorMs: 3_600_000 };

/** How often, and how many at once, rows that nobody can be answered with any more are deleted. */
const sweepMs = 60_000;
const sweepRows = 1_000;

const readSql = 'select * from plimsoll.cache_read($1, $2, $3, $4, $5, $6, $7)';
const fillSql = 'select plimsoll.cache_fill($1, $2, $3, $4, $5, $6, $7, $8) as kept';
const invalidateSql = 'select plimsoll.cache_invalidate($1, $2, $3, $4)';
const leaseUntil = 'update plimsoll.cache_lease set until = plimsoll.cache_after($3)';
const renewSql = `${leaseUntil} where slot = $1 and owner = $2 returning 1`;
// A lease of nobody.
const failedSql = `${leaseUntil}, owner = '' where slot = $1 and owner = $2`;
const releaseSql = 'delete from plimsoll.cache_lease where slot = $1 and owner = $2';
const sweepSql = ['cache_value.kept_until', 'cache_slot.kept_until', 'cache_lease.until'].map((column) => {
  const [table, until] = column.split('.');
  return `with over as (
    select slot from plimsoll.${table} where ${until} < clock_timestamp() limit ${sweepRows} for update skip locked)
  delete from plimsoll.${table} t using over where t.slot = over.slot returning 1`;
});

interface ReadRow {
  readonly versions: string;
  readonly floor: string;
  readonly leased: boolean;
  readonly failed_ms: number;
  readonly data: string | null;
  readonly mark: string;
  readonly fresh_ms: number;
  readonly cost_ms: number;
}

/**
 * Values of `plimsoll/cache` in PostgreSQL, in the unlogged tables of `cacheMigrations`: where there is no Redis. Give
 * it a small pool of its own, so that questions do not take the connections of the work.
 */
export function postgresCacheStore(
  client: PostgresClient,
  options: PostgresCacheStoreOptions = {},
): SharedStore {
  const { floorMs } = { ...postgresCacheStoreDefaults, ...options };
  return { open: (opening) => new PostgresTable(client, opening, floorMs) };
}

class PostgresTable implements SharedTable {
  readonly #client: PostgresClient;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #scope: object;
  readonly #floorMs: number;
  #sweepAtMs: number;

  constructor(client: PostgresClient, { name, clock, scope }: SharedTableOptions, floorMs: number) {
    this.#client = client;
    this.#name = name;
    this.#clock = clock;
    this.#scope = scope;
    this.#floorMs = floorMs;
    this.#sweepAtMs = clock.monotonicMs() + sweepMs;
  }

  async read({ key, tags, atLeast, keepMs, lease }: SharedAsk): Promise<SharedAnswer> {
    if (this.#clock.monotonicMs() >= this.#sweepAtMs) void this.#sweep();
    const { rows } = await this.#client.query(readSql, [
      this.#slots(key, tags),
      String(randomVersion()),
      keepMs,
      atLeast,
      lease?.owner ?? null,
      lease?.forMs ?? 0,
      lease?.belowMs ?? 0,
    ]);
    const [row] = rows as readonly ReadRow[];
    if (row === undefined) throw new Error('plimsoll.cache_read answered nothing');
    const { data, mark, fresh_ms: freshForMs, cost_ms: costMs } = row;
    return {
      value:
        data === null ? undefined : { data, mark, freshForMs: Number(freshForMs), costMs: Number(costMs) },
      versions: row.versions.split(','),
      floor: row.floor,
      leased: row.leased,
      failedForMs: Number(row.failed_ms),
    };
  }

  async fill(fill: SharedFill): Promise<boolean> {
    const { key, tags, versions, data, mark, freshMs, keepMs, costMs, owner } = fill;
    const slots = this.#slots(key, tags);
    const given = [slots, versions.join(','), data, mark, costMs, freshMs, keepMs, owner];
    const { rows } = await this.#client.query(fillSql, given);
    return (rows as readonly { readonly kept: boolean }[])[0]?.kept ?? false;
  }

  async invalidate({ keys, tags, everything, floor }: SharedInvalidation): Promise<void> {
    const slots = [
      ...(everything ? [`${this.#name}:*`] : []),
      ...keys.map((key) => this.#ofKey(key)),
      ...tags.map((tag) => this.#ofTag(tag)),
    ];
    await this.#client.query(invalidateSql, [slots, String(randomVersion()), floor, this.#floorMs]);
  }

  async renew(key: string, owner: string, forMs: number): Promise<boolean> {
    return (await this.#client.query(renewSql, [this.#ofKey(key), owner, forMs])).rows.length === 1;
  }

  async release(key: string, owner: string, failedForMs = 0): Promise<void> {
    const given = [this.#ofKey(key), owner];
    if (failedForMs > 0) await this.#client.query(failedSql, [...given, failedForMs]);
    else await this.#client.query(releaseSql, given);
  }

  #slots(key: string, tags: readonly string[]): string[] {
    return [`${this.#name}:*`, this.#ofKey(key), ...tags.map((tag) => this.#ofTag(tag))];
  }

  #ofKey(key: string): string {
    return `${this.#name}:k:${storedKey(key)}`;
  }

  #ofTag(tag: string): string {
    return `${this.#name}:t:${storedKey(tag)}`;
  }

  /** Never rejects: nobody waits for it. */
  async #sweep(): Promise<void> {
    this.#sweepAtMs = Infinity;
    try {
      for (const statement of sweepSql) {
        let deleted = sweepRows;
        while (deleted === sweepRows) deleted = (await this.#client.query(statement, [])).rows.length;
      }
    } catch (error) {
      background.publish({ scope: this.#scope, what: `sweep of the cache ${this.#name}`, error });
    }
    this.#sweepAtMs = this.#clock.monotonicMs() + sweepMs;
  }
}
