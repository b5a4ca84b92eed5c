import { background } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { maxTouchedTags, type Seen } from '../kernel/seen.ts';
import type { PostgresClient } from '../rate-limit/postgres-store.ts';
import { rowsOf, seenOf, type SeenRow, type SeenStore } from './seen-store.ts';

/** How often, and how many at once, rows that have expired are deleted. */
const sweepMs = 60_000;
const sweepRows = 1_000;

const readSql = `
  select database, epoch, written, read, tags::text as tags, unknown_until > now() as unknown,
    wrote_at_ms::float8 as "wroteAtMs"
  from plimsoll.seen where id = $1 and expires_at > now()`;

/** The same as `Seen.mergeAll`, on the row as it is when its lock is had. In the order of the key: no two wait for each other. */
const mergeSql = `
  insert into plimsoll.seen as s (id, database, timeline, epoch, written, read, tags, unknown_until, wrote_at_ms, expires_at)
  select $1, n.database, n.timeline, n.epoch, n.written, n.read, n.tags,
    case when n.unknown then now() + $3::float8 * interval '1 ms' else '-infinity' end, n."wroteAtMs",
    now() + $3::float8 * interval '1 ms'
  from jsonb_to_recordset($2::jsonb) n (
    database text, timeline int8, epoch text, written text, read text, tags jsonb, unknown bool, "wroteAtMs" int8)
  order by n.database collate "C"
  on conflict (id, database) do update set
    (timeline, epoch, written, read, tags) = (
      select
        case when replaces then excluded.timeline else s.timeline end,
        case when replaces then excluded.epoch else s.epoch end,
        case when replaces then excluded.written when joins then greatest(s.written, excluded.written) else s.written end,
        case when replaces then excluded.read when joins then greatest(s.read, excluded.read) else s.read end,
        case when replaces then excluded.tags when not joins or s.tags = excluded.tags then s.tags
          when s.tags is not null and excluded.tags is not null then (
            select case when count(*) <= ${maxTouchedTags} then coalesce(jsonb_object_agg(tag, at), '{}') end
            from (
              select key as tag, max(value collate "C") as at from (
                select * from jsonb_each_text(s.tags) union all select * from jsonb_each_text(excluded.tags)) both_of_them
              group by key) joined)
        end
      from (
        select s.expires_at <= now() or (excluded.timeline, excluded.epoch) > (s.timeline, s.epoch) as replaces,
          s.epoch = excluded.epoch as joins) how),
    unknown_until = greatest(s.unknown_until, excluded.unknown_until),
    wrote_at_ms = greatest(s.wrote_at_ms, excluded.wrote_at_ms),
    expires_at = greatest(s.expires_at, excluded.expires_at)`;

// Rows that somebody is at are in use.
const sweepSql = `
  with expired as (
    select id, database from plimsoll.seen where expires_at <= now() limit ${sweepRows} for update skip locked)
  delete from plimsoll.seen s using expired e where (s.id, s.database) = (e.id, e.database) returning 1`;

/**
 * In PostgreSQL: the table of `sessionMigrations`, one statement for each call, the server's clock. Give it the primary,
 * through a small pool of its own, so that it waits for no other work.
 */
export function postgresSeenStore(client: PostgresClient, clock: Clock = systemClock): SeenStore {
  return new PostgresSeenStore(client, clock);
}

class PostgresSeenStore implements SeenStore {
  readonly #client: PostgresClient;
  readonly #clock: Clock;
  #sweepAtMs: number;

  constructor(client: PostgresClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
    this.#sweepAtMs = clock.monotonicMs() + sweepMs;
  }

  async read(id: string): Promise<Seen> {
    const { rows } = await this.#client.query(readSql, [id]);
    return seenOf(
      (rows as readonly (SeenRow & { readonly tags: string | null })[]).map((row) => ({
        ...row,
        tags: row.tags === null ? null : (JSON.parse(row.tags) as Record<string, string>),
      })),
    );
  }

  async merge(id: string, seen: Seen, ttlMs: number): Promise<void> {
    if (this.#clock.monotonicMs() >= this.#sweepAtMs) void this.#sweep();
    const rows = rowsOf(seen);
    if (rows.length > 0) await this.#client.query(mergeSql, [id, JSON.stringify(rows), ttlMs]);
  }

  /** Never rejects: nobody waits for it. */
  async #sweep(): Promise<void> {
    this.#sweepAtMs = Infinity;
    try {
      let deleted = sweepRows;
      while (deleted === sweepRows) deleted = (await this.#client.query(sweepSql, [])).rows.length;
    } catch (error) {
      background.publish({ scope: this, what: 'sweep of what clients have seen', error });
    }
    this.#sweepAtMs = this.#clock.monotonicMs() + sweepMs;
  }
}
