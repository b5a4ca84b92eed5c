import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { causeOf } from './events.ts';
import { traceTree, type TraceFact, type TraceNode } from './trace-tree.ts';

/** Where to begin: with what one outside request set off, or with all that happened to a key. */
export type TraceStart =
  | { readonly correlationId: string }
  /** `type` narrows the events of that key by which the requests are found. */
  | { readonly key: string; readonly type?: string | undefined };

/** Tells what other parts know of requests, by their correlation ids. */
export type TraceSource = (
  db: Queryable,
  correlationIds: readonly string[],
) => Promise<readonly (TraceFact & { readonly correlationId: string })[]>;

/** Requests that one trace looks at; of a key with more, the newest. */
const mostRequests = 200;

type Fact = TraceFact & { readonly correlationId: string };

/**
 * What happened and why: every event, delivery and job of the requests in question, each under what set it off,
 * in the order of time. What has left no row of its own, such as a job that has ended without a receipt, is there as
 * far as what it set off tells of it.
 */
export async function trace(
  database: Database,
  start: TraceStart,
  sources: readonly TraceSource[] = [],
): Promise<readonly TraceNode[]> {
  const correlationIds =
    'correlationId' in start ? [start.correlationId] : await requestsOf(database, start.key, start.type);
  if (correlationIds.length === 0) return [];
  const found = await Promise.all(
    [events, deliveries, tasks, receipts, ...sources].map((source) => source(database, correlationIds)),
  );
  const facts = found.flat();
  const requests = new Map(facts.map(({ id, correlationId }) => [id, `request:${correlationId}`]));
  return traceTree(
    facts.map(({ correlationId: _correlationId, ...fact }) => fact),
    ({ id }) => requests.get(id) ?? 'request:unknown',
  );
}

async function requestsOf(db: Queryable, key: string, type: string | undefined): Promise<string[]> {
  const rows = await db.query<{ correlationId: string }>(sql`
    select correlation_id as "correlationId" from (
      select correlation_id, max(position) as newest from plimsoll.event
      where key = ${key} and (${type ?? null}::text is null or type = ${type ?? null}) group by correlation_id
      union all
      select correlation_id, null from plimsoll.outbox
      where key = ${key} and (${type ?? null}::text is null or type = ${type ?? null})) known
    group by correlation_id order by max(newest) desc nulls first limit ${mostRequests}`);
  return rows.map(({ correlationId }) => correlationId);
}

interface EventRow {
  readonly id: string;
  readonly position: number | null;
  readonly type: string;
  readonly key: string | null;
  readonly at: string;
  readonly correlationId: string;
  readonly causationId: string | null;
  readonly operation: string | null;
  readonly principal: string | null;
  readonly erased: boolean;
}

const events: TraceSource = async (db, correlationIds) => {
  const columns = sql`type, key, to_json(at)#>>'{}' as at, correlation_id as "correlationId", causation_id as "causationId", operation, caller->>'principal' as principal`;
  const rows = await db.query<EventRow>(sql`
    select id::text, position::float8, ${columns}, erased_at is not null as erased from plimsoll.event where correlation_id = any(${correlationIds})
    union all
    select id::text, null, ${columns}, false from plimsoll.outbox where correlation_id = any(${correlationIds})`);
  return rows.map(({ id, position, type, key, at, correlationId, causationId, ...more }) => ({
    id: `event:${id}`,
    cause: causationId ?? `request:${correlationId}`,
    kind: 'event',
    name: type,
    state: position === null ? 'in the outbox' : 'logged',
    at,
    data: {
      ...(position === null ? {} : { position }),
      ...(key === null ? {} : { key }),
      ...(more.operation === null ? {} : { by: more.operation }),
      ...(more.principal === null ? {} : { principal: more.principal }),
      ...(more.erased ? { erased: true } : {}),
    },
    correlationId,
  }));
};

interface InboxRow {
  readonly id: string;
  readonly subscription: string;
  readonly replay: number;
  readonly outcome: string;
  readonly note: Readonly<Record<string, unknown>> | null;
  readonly at: string;
  readonly correlationId: string;
}

/** Those that have ended. */
const deliveries: TraceSource = async (db, correlationIds) => {
  const rows = await db.query<InboxRow>(sql`
    select e.id::text, i.subscription, i.replay::float8, i.outcome, i.note, to_json(i.at)#>>'{}' as at, e.correlation_id as "correlationId"
    from plimsoll.event e join plimsoll.inbox i on i.position = e.position
    where e.correlation_id = any(${correlationIds})`);
  return rows.map(({ id, subscription, replay, outcome, note, at, correlationId }): Fact => {
    const again = replay === 0 ? {} : { replay };
    return {
      id: causeOf({ id, ...again }, subscription),
      cause: `event:${id}`,
      kind: 'delivery',
      name: subscription,
      state: outcome,
      at,
      data: { ...again, ...note },
      correlationId,
    };
  });
};

interface TaskRow {
  readonly id: string;
  readonly kind: string;
  readonly name: string;
  readonly state: string;
  readonly attempt: number;
  readonly at: string;
  readonly correlationId: string;
  readonly causationId: string | null;
  readonly error: string | null;
  readonly eventId: string | null;
  readonly replay: number | null;
}

/** Deliveries and jobs that have not ended. */
const tasks: TraceSource = async (db, correlationIds) => {
  const rows = await db.query<TaskRow>(sql`
    select id::text, kind, name, state, attempt, to_json(created_at)#>>'{}' as at, correlation_id as "correlationId",
      causation_id as "causationId", last_error->>'message' as error,
      case kind when 'delivery' then payload->>'id' end as "eventId",
      case kind when 'delivery' then (payload->>'replay')::float8 end as replay
    from plimsoll.task where correlation_id = any(${correlationIds}) and kind in ('delivery', 'job')`);
  return rows.map((row): Fact => {
    const { id, kind, name, state, attempt, at, correlationId, causationId, error, eventId, replay } = row;
    const again = replay === null ? {} : { replay };
    return {
      id: eventId === null ? `job:${id}` : causeOf({ id: eventId, ...again }, name),
      cause: eventId === null ? (causationId ?? `request:${correlationId}`) : `event:${eventId}`,
      kind,
      name,
      state,
      at,
      data: { task: id, attempt, ...again, ...(error === null ? {} : { error }) },
      correlationId,
    };
  });
};

interface ReceiptRow {
  readonly id: string;
  readonly name: string;
  readonly outcome: string | null;
  readonly reason: string | null;
  readonly at: string;
  readonly correlationId: string;
  readonly causationId: string | null;
}

/** Jobs that have ended and left a receipt: accepted for a client, cancelled, or enqueued with `keepResult`. */
const receipts: TraceSource = async (db, correlationIds) => {
  const rows = await db.query<ReceiptRow>(sql`
    select id::text, name, outcome, reason, to_json(coalesce(ended_at, accepted_at))#>>'{}' as at,
      correlation_id as "correlationId", causation_id as "causationId"
    from plimsoll.job_receipt r where correlation_id = any(${correlationIds})
      and not exists (select 1 from plimsoll.task t where t.id = r.id)`);
  return rows.map(({ id, name, outcome, reason, at, correlationId, causationId }): Fact => ({
    id: `job:${id}`,
    cause: causationId ?? `request:${correlationId}`,
    kind: 'job',
    name,
    state: outcome ?? 'done',
    at,
    data: reason === null ? {} : { reason },
    correlationId,
  }));
};
