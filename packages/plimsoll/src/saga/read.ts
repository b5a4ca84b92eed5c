import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { PlimsollError } from '../kernel/errors.ts';
import type { Trouble } from './failure.ts';
import type { HistoryRow } from './history.ts';
import { readHistory, type Ending, type SagaState } from './statements.ts';

/** One saga in a list. */
export interface SagaSummary {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly state: SagaState;
  /** Whether it goes, or went, backwards. */
  readonly undoing: boolean;
  /** What is begun and has no outcome: `step charge`, `approval big-order`. */
  readonly at: readonly string[];
  /** ISO 8601; null when it does not go on by itself. */
  readonly nextAt: string | null;
  /** ISO 8601. */
  readonly startedAt: string;
  /** ISO 8601. */
  readonly changedAt: string;
  /** Why it goes backwards. */
  readonly error: { readonly error: string; readonly data?: unknown } | null;
  /** What went wrong last. */
  readonly trouble: Trouble | null;
}

/** One saga with all that happened. */
export interface SagaDetails extends SagaSummary {
  readonly parent: string | null;
  readonly input: unknown;
  readonly result: unknown;
  readonly ending: Ending | null;
  /** When the personal data was taken out; ISO 8601. */
  readonly erasedAt: string | null;
  readonly correlationId: string;
  /** In order. */
  readonly history: readonly HistoryRow[];
}

export interface SagaFilter {
  readonly state?: SagaState;
  /** `orders.checkout`. */
  readonly name?: string;
  /** At most so many. Default 50. */
  readonly limit?: number;
}

const summary = sql`s.id, s.name, s.version, s.state, s.undoing, s.error, s.trouble,
  (select coalesce(array_agg(b.op || ' ' || b.name order by b.seq), '{}') from plimsoll.saga_step b
    where b.saga = s.id and b.kind = 'began' and s.state not in ('done', 'compensated') and not exists (
      select 1 from plimsoll.saga_step d where d.saga = s.id and d.place = b.place and d.kind = 'done')) as at,
  (select to_json(t.run_at)#>>'{}' from plimsoll.task t where t.id = s.task) as "nextAt",
  to_json(s.created_at)#>>'{}' as "startedAt", to_json(greatest(s.updated_at,
    (select max(b.at) from plimsoll.saga_step b where b.saga = s.id)))#>>'{}' as "changedAt"`;

/** The newest sagas. */
export function listSagas(
  database: Pick<Queryable, 'query'>,
  { state, name, limit = 50 }: SagaFilter = {},
): Promise<SagaSummary[]> {
  return database.query<SagaSummary>(sql`
    select ${summary} from plimsoll.saga s
    where (${state ?? null}::text is null or s.state = ${state ?? null})
      and (${name ?? null}::text is null or s.name = ${name ?? null})
    order by s.created_at desc, s.id limit ${limit}`);
}

/** One saga and its history. PL_SAGA_UNKNOWN. */
export async function showSaga(
  database: Pick<Queryable, 'query' | 'maybeOne'>,
  id: string,
): Promise<SagaDetails> {
  const row = await database.maybeOne<
    Omit<SagaDetails, 'history' | 'input' | 'result'> & Record<'input' | 'result', { value?: unknown } | null>
  >(sql`
    select ${summary}, s.parent, s.input, s.result, s.ending, to_json(s.erased_at)#>>'{}' as "erasedAt",
      s.correlation_id as "correlationId"
    from plimsoll.saga s where s.id = ${id}`);
  if (row === undefined) throw unknownSaga(id);
  const history = await database.query<HistoryRow>(readHistory(id));
  return { ...row, input: row.input?.value, result: row.result?.value, history };
}

export function unknownSaga(id: string): PlimsollError {
  return new PlimsollError(
    'PL_SAGA_UNKNOWN',
    `there is no saga ${JSON.stringify(id)}; an id is the saga's name and its own, such as "orders.checkout/42"`,
    { data: { id } },
  );
}

/** Sagas that have not ended, by state. */
export interface SagaCounts {
  readonly running: number;
  readonly waiting: number;
  readonly compensating: number;
  readonly stuck: number;
}

export function countSagas(database: Pick<Queryable, 'one'>): Promise<SagaCounts> {
  return database.one<{ running: number; waiting: number; compensating: number; stuck: number }>(sql`
    select count(*) filter (where state = 'running')::int as running,
      count(*) filter (where state = 'waiting')::int as waiting,
      count(*) filter (where state = 'compensating')::int as compensating,
      count(*) filter (where state = 'stuck')::int as stuck
    from plimsoll.saga where state not in ('done', 'compensated')`);
}

/** Whether sagas go on by themselves: those that are stuck, and waits whose event is there and was not told yet. */
export function sagasAtRest(
  database: Pick<Queryable, 'one'>,
): Promise<{ readonly stuck: number; readonly toWake: number }> {
  return database.one<{ stuck: number; toWake: number }>(sql`
    select (select count(*) from plimsoll.saga where state = 'stuck')::int as stuck,
      (select count(*) from plimsoll.saga_wait w where exists (
        select 1 from plimsoll.event e where e.key = w.key and e.type = w.event_type and e.position > w.after))::int as "toWake"`);
}

/**
 * Deletes sagas that ended longer ago than this, and their history; returns how many, at most `limit` (default 1000).
 * From then on their ids are unknown, and may be started again. Run it when you like. A child stays as long as its
 * parent, which may have to undo it.
 */
export async function forgetSagas(
  database: Pick<Queryable, 'one'>,
  olderThanMs: number,
  limit = 1_000,
): Promise<number> {
  const { forgotten } = await database.one<{ forgotten: number }>(sql`
    with ended as materialized (
      select id from plimsoll.saga s
      where state in ('done', 'compensated') and updated_at < now() - ${olderThanMs}::float8 * interval '1 millisecond'
        and not exists (select 1 from plimsoll.saga p where p.id = s.parent)
      order by created_at limit ${limit} for update skip locked
    ), steps as (
      delete from plimsoll.saga_step where saga in (select id from ended)
    ), gone as (
      delete from plimsoll.saga where id in (select id from ended) returning 1
    )
    select count(*)::int as forgotten from gone`);
  return forgotten;
}
