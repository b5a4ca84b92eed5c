import { sql } from 'plimsoll';
import { createDatabase, sqlState } from 'plimsoll/database';
import { DoctorError } from './doctor-error.ts';

/** One statement of this database by pg_stat_statements. */
export interface ServerStatement {
  readonly text: string;
  readonly calls: number;
  readonly totalMs: number;
  readonly rows: number;
  /** Shared blocks, from the cache or not. */
  readonly blocks: number;
}

export type ServerReading =
  | { readonly ok: true; readonly statements: readonly ServerStatement[] }
  | { readonly ok: false; readonly why: string };

const enable =
  "set shared_preload_libraries = 'pg_stat_statements', restart the server, and run `create extension pg_stat_statements`";

/** What the servers have run since their statistics began; the same statement on several of them is one. */
export async function readServers(urls: readonly string[]): Promise<ServerReading> {
  const readings = await Promise.all(urls.map((url) => readServer(url)));
  const failed = readings.find((reading) => !reading.ok);
  if (failed !== undefined) return failed;
  const merged = new Map<string, ServerStatement>();
  for (const statement of readings.flatMap((reading) => (reading.ok ? reading.statements : []))) {
    const { text } = statement;
    merged.set(text, combine(merged.get(text), statement, 1));
  }
  return { ok: true, statements: [...merged.values()] };
}

async function readServer(url: string): Promise<ServerReading> {
  await using database = createDatabase({ url, applicationName: 'plimsoll doctor', pool: { max: 1 } });
  try {
    const extension = await database.maybeOne<{ schema: string }>(sql`
      select n.nspname as schema from pg_extension e join pg_namespace n on n.oid = e.extnamespace
      where e.extname = 'pg_stat_statements'`);
    if (extension === undefined)
      return { ok: false, why: `the extension pg_stat_statements is not there; ${enable}` };
    const statements = await database.query<ServerStatement>(sql`
      select query as text, sum(calls)::float8 as calls, sum(total_exec_time)::float8 as "totalMs",
        sum(rows)::float8 as rows, sum(shared_blks_hit + shared_blks_read)::float8 as blocks
      from ${sql.id(extension.schema, 'pg_stat_statements')}
      where dbid = (select oid from pg_database where datname = current_database()) and toplevel
        and query is not null
      group by query`);
    return statements.some(({ text }) => text === '<insufficient privilege>')
      ? {
          ok: false,
          why: 'pg_stat_statements hides the statements of other roles; run `grant pg_read_all_stats to` the role of DATABASE_URL',
        }
      : { ok: true, statements };
  } catch (error) {
    // Not preloaded: the view is there and every read of it fails.
    if (sqlState(error) === '55000') return { ok: false, why: `pg_stat_statements is not loaded; ${enable}` };
    throw new DoctorError(
      'PL_DOCTOR_UNREACHABLE',
      `the database cannot be examined: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

/** What ran between two readings. After a reset in between, what is there now ran since. */
export function serverDelta(
  before: readonly ServerStatement[],
  after: readonly ServerStatement[],
): readonly ServerStatement[] {
  const earlier = new Map(before.map((statement) => [statement.text, statement]));
  return after
    .map((now) => {
      const then = earlier.get(now.text);
      return then === undefined || then.calls > now.calls ? now : combine(now, then, -1);
    })
    .filter(({ calls }) => calls > 0);
}

function combine(left: ServerStatement | undefined, right: ServerStatement, sign: 1 | -1): ServerStatement {
  if (left === undefined) return right;
  return {
    text: left.text,
    calls: left.calls + sign * right.calls,
    totalMs: left.totalMs + sign * right.totalMs,
    rows: left.rows + sign * right.rows,
    blocks: left.blocks + sign * right.blocks,
  };
}
