import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import type { HistoryKind } from './history.ts';

/** What a saga, or one thing that it did, is in the trace of a request; see `trace` of `plimsoll/outbox`. */
export interface SagaFact {
  /** `saga:orders.checkout/42`; a step of it `saga:orders.checkout/42#3:charge`, and what undid that with `/undo`. */
  readonly id: string;
  readonly cause: string;
  readonly kind: 'saga' | 'saga step';
  readonly name: string;
  readonly state: string;
  /** ISO 8601; of a step, when it was begun. */
  readonly at: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly correlationId: string;
}

interface SagaRow {
  readonly id: string;
  readonly cause: string;
  readonly name: string;
  readonly state: string;
  readonly at: string;
  readonly error: string | null;
  readonly correlationId: string;
}

interface StepRow {
  readonly saga: string;
  readonly seq: number;
  readonly kind: HistoryKind;
  readonly place: string;
  readonly op: string | null;
  readonly name: string | null;
  readonly operation: string | null;
  readonly error: string | null;
  readonly who: string | null;
  readonly why: string | null;
  readonly at: string;
}

/**
 * The sagas of requests with what they did: a source for `trace`. What the command of a step emitted hangs on the
 * step, and so does what its command called.
 */
export async function sagaFacts(
  db: Pick<Queryable, 'query'>,
  correlationIds: readonly string[],
): Promise<readonly SagaFact[]> {
  const sagas = await db.query<SagaRow>(sql`
    select id, coalesce(causation_id, 'request:' || correlation_id) as cause, name, state,
      to_json(created_at)#>>'{}' as at, error->>'error' as error, correlation_id as "correlationId"
    from plimsoll.saga where correlation_id = any(${correlationIds})`);
  if (sagas.length === 0) return [];
  const steps = await db.query<StepRow>(sql`
    select saga, seq::float8, kind, place, op, name, operation, error->>'message' as error, who, why, to_json(at)#>>'{}' as at
    from plimsoll.saga_step s where saga = any(${sagas.map(({ id }) => id)}) order by saga, s.seq`);
  const bySaga = Map.groupBy(steps, ({ saga }) => saga);
  return sagas.flatMap(({ id, error, ...saga }): SagaFact[] => [
    { id: `saga:${id}`, kind: 'saga', ...saga, data: error === null ? {} : { error } },
    ...stepsOf(`saga:${id}`, saga.correlationId, bySaga.get(id) ?? []),
  ]);
}

const isUndo = ({ kind }: StepRow): boolean => kind === 'undone' || kind === 'undo_threw';
/** What `operation` is of a row about the whole saga. */
const said: Partial<Record<HistoryKind, string>> = { failed: 'error', asked: 'asked' };
const ends: Partial<Record<HistoryKind, string>> = { undone: 'done', undo_threw: 'threw' };

/** Its rows by what they are about: a place, what undid that place, or the saga as a whole. */
function stepsOf(saga: string, correlationId: string, rows: readonly StepRow[]): SagaFact[] {
  // Only one of the rows of a place says what it was.
  const names = new Map(
    rows.flatMap(({ place, op, name }) => (name === null ? [] : [[place, { op, name }]])),
  );
  const groups = Map.groupBy(rows, (row) =>
    row.place === ''
      ? `#${row.seq}`
      : `#${row.place}:${names.get(row.place)?.name ?? ''}${isUndo(row) ? '/undo' : ''}`,
  );
  return [...groups].flatMap(([suffix, group]) => {
    const [first, last] = [group[0], group.at(-1)];
    if (first === undefined || last === undefined) return [];
    const { op, name } = names.get(first.place) ?? { op: 'saga', name: '' };
    const signed = group.findLast(({ who }) => who !== null);
    const operation = group.find((row) => row.operation !== null)?.operation ?? null;
    return {
      id: `${saga}${suffix}`,
      cause: saga,
      kind: 'saga step' as const,
      name: `${isUndo(first) ? 'undo' : op} ${name}`.trim(),
      state: ends[last.kind] ?? last.kind,
      at: first.at,
      correlationId,
      data: {
        ...(operation === null ? {} : { [said[last.kind] ?? 'operation']: operation }),
        ...(last.error === null ? {} : { error: last.error }),
        ...(signed === undefined ? {} : { by: signed.who, why: signed.why }),
      },
    };
  });
}
