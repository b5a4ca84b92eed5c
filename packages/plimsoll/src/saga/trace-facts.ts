import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';

/** What a saga, or one thing that it did, is in the trace of a request; see `trace` of `plimsoll/outbox`. */
export interface SagaFact {
  /** `saga:orders.checkout/42`, and with `#7` what it did there. */
  readonly id: string;
  readonly cause: string;
  readonly kind: 'saga' | 'saga step';
  readonly name: string;
  readonly state: string;
  /** ISO 8601. */
  readonly at: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly correlationId: string;
}

interface Row extends Omit<SagaFact, 'data'> {
  readonly operation: string | null;
  readonly error: string | null;
  readonly who: string | null;
  readonly why: string | null;
}

/**
 * The sagas of requests with their histories: a source for `trace`. What a step's command emitted hangs on the saga,
 * beside the step.
 */
export async function sagaFacts(
  db: Pick<Queryable, 'query'>,
  correlationIds: readonly string[],
): Promise<readonly SagaFact[]> {
  const rows = await db.query<Row>(sql`
    select 'saga:' || s.id as id, coalesce(s.causation_id, 'request:' || s.correlation_id) as cause, 'saga' as kind,
      s.name, s.state, to_json(s.created_at)#>>'{}' as at, s.correlation_id as "correlationId",
      null as operation, s.error->>'error' as error, null as who, null as why
    from plimsoll.saga s where s.correlation_id = any(${correlationIds})
    union all
    select 'saga:' || s.id || '#' || h.seq, 'saga:' || s.id, 'saga step', coalesce(h.op || ' ' || h.name, began.what, 'saga'),
      h.kind, to_json(h.at)#>>'{}', s.correlation_id, h.operation, h.error->>'message', h.who, h.why
    from plimsoll.saga s join plimsoll.saga_step h on h.saga = s.id
      -- What ends something does not repeat what it was.
      left join lateral (
        select b.op || ' ' || b.name as what from plimsoll.saga_step b
        where b.saga = h.saga and b.place = h.place and b.kind = 'began') began on true
    where s.correlation_id = any(${correlationIds})`);
  return rows.map(({ operation, error, who, why, ...fact }) => ({
    ...fact,
    data: {
      ...(operation === null ? {} : { operation }),
      ...(error === null ? {} : { error }),
      ...(who === null ? {} : { by: who }),
      ...(why === null ? {} : { why }),
    },
  }));
}
