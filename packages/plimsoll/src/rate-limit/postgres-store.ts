import { background } from '../kernel/channels.ts';
import type { Clock } from '../kernel/clock.ts';
import { periodMs, toleranceMs, type StoreRule } from './rules.ts';
import {
  storedKey,
  type CountersOptions,
  type Decision,
  type Level,
  type RateCounters,
  type RateLimitStore,
} from './store.ts';

/** A pool of `pg`, or whatever else sends a statement to PostgreSQL in a transaction of its own. */
export interface PostgresClient {
  query(text: string, values: unknown[]): Promise<{ readonly rows: unknown[] }>;
}

/** How often, and how many at once, rows that hold nothing any more are deleted. */
const sweepMs = 60_000;
const sweepRows = 1_000;

/** As the function of that name, which would have to be found and put in its place each time. */
const now = '((extract(epoch from statement_timestamp())::float8 - 1735689600) * 1000)';

/**
 * For one rule: an upsert of each key once, in the order of the function. What is refused comes back in no row. The
 * time of the statement is what the new row would have, less its cost.
 */
const takeRateSql = `
  insert into plimsoll.rate_limit as r (key, until_ms, used)
  select key, ${now} + cost * $3::float8, 0 from unnest($1::text[], $2::float8[]) asked (key, cost) order by key
  on conflict (key) do update set
    until_ms = greatest(r.until_ms, ${now}) + excluded.until_ms - ${now}
  where greatest(r.until_ms, ${now}) + excluded.until_ms - 2 * ${now} <= $4::float8
  returning key, until_ms - ${now} as reset_ms`;
const takeQuotaSql = `
  insert into plimsoll.rate_limit as r (key, until_ms, used)
  select key, plimsoll.rate_limit_window_end(${now}, $3::float8), cost
    from unnest($1::text[], $2::float8[]) asked (key, cost) order by key
  on conflict (key) do update set until_ms = excluded.until_ms,
    used = case when r.until_ms > ${now} then r.used else 0 end + excluded.used
  where r.until_ms <= ${now} or r.used + excluded.used <= $4::float8
  returning key, until_ms - ${now} as reset_ms, used`;
/** For several rules, and to look. */
const takeSql = `select place, granted, used, reset_ms from plimsoll.rate_limit_take($1, $2, $3, $4, $5)`;
const resetSql = `delete from plimsoll.rate_limit where key = any($1)`;
// Rows that somebody is at are in use.
const sweepSql = `
  with idle as (
    select key from plimsoll.rate_limit where until_ms <= plimsoll.rate_limit_now()
    limit ${sweepRows} for update skip locked)
  delete from plimsoll.rate_limit using idle where rate_limit.key = idle.key returning 1`;

interface Row {
  readonly place: number;
  readonly granted: boolean;
  readonly used: number;
  readonly reset_ms: number;
}

interface TakenRow {
  readonly key: string;
  readonly reset_ms: number;
  /** Of a quota. */
  readonly used?: number;
}

/** A call under one rule that waits for its answer: undefined when it is refused. */
interface Asked {
  readonly key: string;
  readonly cost: number;
  readonly resolve: (level: Level | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Counters in PostgreSQL: tables of `rateLimitMigrations`, the server's clock, one statement for each call. Give it a
 * small pool of its own, so that a flood of calls does not take the connections of the work.
 */
export function postgresStore(client: PostgresClient): RateLimitStore {
  return { shared: true, open: (options) => new PostgresCounters(client, options) };
}

class PostgresCounters implements RateCounters {
  readonly #client: PostgresClient;
  readonly #name: string;
  readonly #rules: readonly StoreRule[];
  readonly #clock: Clock;
  readonly #scope: object;
  // By rule: calls of this turn of the event loop, sent together at its end.
  readonly #asked: Asked[][];
  #sweepAtMs: number;

  constructor(client: PostgresClient, { name, rules, clock, scope }: CountersOptions) {
    this.#client = client;
    this.#name = name;
    this.#rules = rules;
    this.#clock = clock;
    this.#scope = scope;
    this.#asked = rules.map(() => []);
    this.#sweepAtMs = clock.monotonicMs() + sweepMs;
  }

  async take(keys: readonly (string | undefined)[], cost: number): Promise<Decision> {
    if (this.#clock.monotonicMs() >= this.#sweepAtMs) void this.#sweep();
    const applied = this.#rules.flatMap((rule, place) => {
      const key = keys[place];
      return key === undefined ? [] : [{ rule, place, key: this.#keyOf(rule, key) }];
    });
    const [first] = applied;
    if (first === undefined) return { allowed: true, levels: [] };
    if (applied.length === 1 && cost > 0) {
      // On a key that is not there yet, nothing else would refuse it.
      const possible = cost <= first.rule.capacity;
      const level = possible ? await this.#takeOne(first.place, first.key, cost) : undefined;
      // Refused: the row is as it was, and has to be looked at.
      const decision = level === undefined ? await this.#takeAll(keys, applied, 0) : undefined;
      return decision === undefined
        ? { allowed: true, levels: keys.map((_, index) => (index === first.place ? level : undefined)) }
        : { ...decision, allowed: false };
    }
    return this.#takeAll(keys, applied, cost);
  }

  async reset(keys: readonly (string | undefined)[]): Promise<void> {
    const known = this.#rules.flatMap((rule, place) => {
      const key = keys[place];
      return key === undefined ? [] : [this.#keyOf(rule, key)];
    });
    await this.#client.query(resetSql, [known]);
  }

  /** Undefined when it is refused. */
  #takeOne(place: number, key: string, cost: number): Promise<Level | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<Level | undefined>();
    const asked = this.#asked[place] as Asked[];
    if (asked.length === 0) setImmediate(() => this.#send(place));
    asked.push({ key, cost, resolve, reject });
    return promise;
  }

  /** A statement can change a row once, so the second call for a key goes into the second one. */
  #send(place: number): void {
    const batches: Map<string, Asked>[] = [];
    const times = new Map<string, number>();
    for (const each of this.#asked[place] as Asked[]) {
      const time = times.get(each.key) ?? 0;
      times.set(each.key, time + 1);
      (batches[time] ??= new Map()).set(each.key, each);
    }
    this.#asked[place] = [];
    for (const batch of batches) void this.#sendBatch(this.#rules[place] as StoreRule, batch);
  }

  /** Never rejects: each call of the batch does. */
  async #sendBatch(rule: StoreRule, batch: ReadonlyMap<string, Asked>): Promise<void> {
    try {
      const { rows } = await this.#client.query(rule.kind === 'rate' ? takeRateSql : takeQuotaSql, [
        [...batch.keys()],
        Array.from(batch.values(), ({ cost }) => cost),
        stepOf(rule),
        rule.kind === 'rate' ? rule.capacity * rule.intervalMs + toleranceMs(rule.intervalMs) : rule.capacity,
      ]);
      for (const { key, reset_ms: resetMs, used } of rows as readonly TakenRow[])
        batch
          .get(key)
          ?.resolve({ used: rule.kind === 'rate' ? resetMs / rule.intervalMs : (used ?? 0), resetMs });
      // Those that are there already stay as they are.
      for (const each of batch.values()) each.resolve(undefined);
    } catch (error) {
      for (const each of batch.values()) each.reject(error);
    }
  }

  async #takeAll(
    keys: readonly (string | undefined)[],
    applied: readonly { readonly rule: StoreRule; readonly place: number; readonly key: string }[],
    cost: number,
  ): Promise<Decision> {
    const { rows } = await this.#client.query(takeSql, [
      applied.map(({ key }) => key),
      applied.map(({ rule }) => rule.kind === 'quota'),
      applied.map(({ rule }) => stepOf(rule)),
      applied.map(({ rule }) => rule.capacity),
      cost,
    ]);
    const levels: (Level | undefined)[] = keys.map(() => undefined);
    let allowed = true;
    for (const { place, granted, used, reset_ms: resetMs } of rows as readonly Row[]) {
      const at = applied[place - 1]?.place;
      if (at !== undefined) levels[at] = { used, resetMs };
      if (!granted) allowed = false;
    }
    return { allowed, levels };
  }

  #keyOf(rule: StoreRule, key: string): string {
    return `${this.#name}:${rule.name}:${rule.kind === 'quota' ? rule.per : 'rate'}:${storedKey(key)}`;
  }

  /** Never rejects: nobody waits for it. */
  async #sweep(): Promise<void> {
    this.#sweepAtMs = Infinity;
    try {
      let deleted = sweepRows;
      while (deleted === sweepRows) deleted = (await this.#client.query(sweepSql, [])).rows.length;
    } catch (error) {
      background.publish({ scope: this.#scope, what: `sweep of the rate limit ${this.#name}`, error });
    }
    this.#sweepAtMs = this.#clock.monotonicMs() + sweepMs;
  }
}

/** What the function knows a rule by: milliseconds of a point, or of a window, where 0 is a month. */
function stepOf(rule: StoreRule): number {
  if (rule.kind === 'rate') return rule.intervalMs;
  return rule.per === 'month' ? 0 : periodMs[rule.per];
}
