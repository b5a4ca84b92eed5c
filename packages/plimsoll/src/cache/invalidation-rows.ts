import { sql, type Sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import type { PostgresClient } from '../rate-limit/postgres-store.ts';
import type { Lsn } from '../kernel/seen.ts';
import { parseLsn } from '../kernel/seen.ts';
import type { Invalidating } from './cache.ts';

/** A row of the table of invalidations: what a transaction has changed. */
export interface RecordedInvalidation {
  readonly id: string;
  readonly cache: string;
  readonly tags: readonly string[];
  readonly keys: readonly string[];
}

export type Recording = Pick<Invalidating, 'tags' | 'keys'>;

/** The statement that records it, answering its `id`: by itself or as a part of another one. */
export function insertInvalidation(cache: string, { tags = [], keys = [] }: Recording): Sql {
  return sql`
    insert into plimsoll.invalidation (cache, tags, keys)
    values (${cache}, ${[...new Set(tags)]}::text[], ${[...new Set(keys)]}::text[]) returning id::text as id`;
}

/**
 * Records in the transaction of `client` what it changes in a cache: ours, or a client of `pg` between BEGIN and COMMIT.
 * After the COMMIT give what it answers to `published` of the relay; when that never happens, the relay finds it.
 */
export async function recordInvalidation(
  client: Pick<Queryable, 'one'> | PostgresClient,
  cache: string,
  recording: Recording,
): Promise<RecordedInvalidation> {
  const statement = insertInvalidation(cache, recording);
  let id: string | undefined;
  if ('one' in client) ({ id } = await client.one<{ id: string }>(statement));
  else {
    const { text, values } = statement.compile();
    const { rows } = await client.query(text, [...values]);
    ({ id } = (rows as readonly { id: string }[])[0] ?? { id: undefined });
  }
  if (id === undefined) throw new Error('the row of an invalidation was not answered');
  return { id, cache, tags: [...(recording.tags ?? [])], keys: [...(recording.keys ?? [])] };
}

export interface FoundInvalidation extends RecordedInvalidation {
  /** No earlier than its commit: taken when the row was there to be seen. */
  readonly lsn: Lsn;
}

interface FoundRow {
  readonly id: string;
  readonly cache: string;
  readonly tags: string[];
  readonly keys: string[];
  readonly lsn: string;
}

/** Rows that nobody seems to be publishing. The position is read by the statement that sees the row, so after its commit. */
export async function findUnpublished(
  primary: Pick<Queryable, 'query'>,
  caches: readonly string[],
  olderThanMs: number,
  most: number,
): Promise<readonly FoundInvalidation[]> {
  const rows = await primary.query<FoundRow>(sql`
    select id::text as id, cache, tags, keys, pg_current_wal_insert_lsn()::text as lsn from plimsoll.invalidation
    where cache = any (${[...caches]}::text[])
      and written_at < clock_timestamp() - ${olderThanMs}::float8 * interval '1 millisecond'
    order by id limit ${most}`);
  return rows.map(({ lsn, ...row }) => ({ ...row, lsn: parseLsn(lsn) ?? 0n }));
}

export async function deletePublished(
  primary: Pick<Queryable, 'execute'>,
  ids: readonly string[],
): Promise<void> {
  await primary.execute(sql`delete from plimsoll.invalidation where id = any (${[...ids]}::bigint[])`);
}
