import { sql, type Sql } from '../database/sql.ts';
import type { ClaimedTask, NewTask } from '../durable/task.ts';
import type { Caller } from '../kernel/context.ts';
import type { Trouble } from './failure.ts';
import type { Kept, NewRow } from './history.ts';

export type SagaState = 'running' | 'waiting' | 'compensating' | 'done' | 'compensated' | 'stuck';

/** What ends a saga from outside. */
export interface Ending {
  readonly who: string;
  readonly why: string;
  /** Steps without an outcome are taken not to have happened. */
  readonly assumeUndone: boolean;
}

/** A saga to be started. */
export interface NewSaga {
  readonly id: string;
  readonly module: string;
  readonly name: string;
  readonly version: number;
  /** Whose personal data it holds. */
  readonly subject: string | undefined;
  /** Of the task that runs it first. */
  readonly task: string;
  /** 1 when it is begun by whoever writes it. Default 0: nobody has written for it. */
  readonly rev?: number;
  readonly input: Kept;
  readonly parent?: string;
  readonly parentPlace?: string;
  readonly correlationId: string;
  readonly causationId: string | undefined;
  readonly caller: Caller;
}

/** What a turn needs of the row of its saga. */
export interface SagaRow {
  readonly id: string;
  readonly module: string;
  readonly name: string;
  readonly version: number;
  readonly state: SagaState;
  readonly undoing: boolean;
  readonly rev: number;
  readonly signals: number;
  readonly task: string | null;
  readonly parent: string | null;
  readonly parentPlace: string | null;
  readonly input: Kept;
  readonly error: { readonly error: string; readonly data?: unknown } | null;
  readonly trouble: Trouble | null;
  readonly ending: Ending | null;
  /** Whether the personal data was taken out of it. */
  readonly erased: boolean;
  readonly correlationId: string;
  readonly causationId: string | null;
  readonly caller: Caller;
  /** Time of the database, milliseconds since the epoch. */
  readonly atMs: number;
  readonly createdMs: number;
}

const columns = sql`s.id, s.module, s.name, s.version, s.state, s.undoing, s.rev, s.signals, s.task, s.parent,
  s.parent_place as "parentPlace", s.input, s.error, s.trouble, s.ending, s.erased_at is not null as erased, s.correlation_id as "correlationId",
  s.causation_id as "causationId", s.caller, extract(epoch from clock_timestamp())::float8 * 1000 as "atMs",
  extract(epoch from s.created_at)::float8 * 1000 as "createdMs"`;

/**
 * Writes sagas; a row with the `id` of each that is new. A child counts the events since its parent was started: what it waits for may have been set off by a
 * step before it. One whose id is there already stays as it is, and the task of this one finds nothing to do.
 */
export function insertSagas(sagas: readonly NewSaga[]): Sql {
  return sql`
    insert into plimsoll.saga (id, module, name, version, subject, task, rev, since, parent, parent_place, input,
      correlation_id, causation_id, caller)
    select n->>'id', n->>'module', n->>'name', (n->>'version')::int, n->>'subject', (n->>'task')::uuid,
      coalesce((n->>'rev')::int, 0),
      coalesce(
        (select since from plimsoll.saga p where p.id = n->>'parent'), (select position from plimsoll.sequencer)), n->>'parent', n->>'parentPlace', n->'input', n->>'correlationId',
      n->>'causationId', n->'caller'
    from jsonb_array_elements(${sql.json(sagas)}) n
    on conflict (id) do nothing returning id`;
}

/** The id of the saga that another one began at a place. */
export const childId = (name: string, parent: string, place: string): string => `${name}/${parent}/${place}`;

/** The names of the tasks that run a saga forwards, and backwards, where its code is not needed. */
export const forwardTask = (name: string, version: number): string => `${name}@${version}`;
export const backwardTask = (name: string): string => name;

/** A worker that dies with each try of a saga is noticed at the last one. */
const turnAttempts = 20;

/** The task of a turn. */
export function turnTask(
  saga: Pick<SagaRow, 'id' | 'name' | 'version' | 'correlationId' | 'causationId' | 'caller'>,
  turn: { readonly id: string; readonly delayMs: number; readonly backwards: boolean },
): NewTask {
  return {
    id: turn.id,
    kind: 'saga',
    name: turn.backwards ? backwardTask(saga.name) : forwardTask(saga.name, saga.version),
    payload: { saga: saga.id },
    delayMs: turn.delayMs,
    maxAttempts: turnAttempts,
    correlationId: saga.correlationId,
    causationId: saga.causationId ?? undefined,
    caller: saga.caller,
  };
}

/** The claimed task, as long as it is ours. */
export const ours = (task: ClaimedTask): Sql => sql`
  select id from plimsoll.task
  where id = ${task.id} and worker = ${task.worker} and attempt = ${task.attempt} and state = 'running'`;

/**
 * Makes the claimed task the one that writes: whoever took the saga before is refused from then on. `claimed` is
 * false when the task is no longer ours. No saga: the task is not the one of its turn any more.
 */
export function takeSaga(task: ClaimedTask, id: string): Sql {
  return sql`
    with claim as (${ours(task)} for update), taken as (
      update plimsoll.saga s
      set rev = rev + 1, state = case when state = 'waiting' then 'running' else state end, updated_at = now()
      from claim where s.id = ${id} and s.task = claim.id and s.state in ('running', 'waiting', 'compensating')
      returning ${columns}
    )
    select exists (select 1 from claim) as claimed, taken.* from (select 1) one left join taken on true`;
}

/**
 * A saga that nobody has ever written for, as {@link takeSaga} gives it, without a write: whoever makes the first one
 * has it. No saga: it is not new, or not of this task.
 */
export function lookAtNew(task: ClaimedTask, id: string): Sql {
  return sql`
    select exists (${ours(task)}) as claimed, s.* from (select 1) one left join (
      select ${columns} from plimsoll.saga s
      where s.id = ${id} and s.task = ${task.id} and s.state = 'running' and s.rev = 0 and s.signals = 0) s on true`;
}

/**
 * Parts of a statement of which `mine` has a row only while the turn that has the saga at this `rev` may write: not
 * when another worker has it, nor when somebody has asked for it to be undone and this turn does not know. It stays so
 * until the commit. The first write of a new saga takes it.
 */
export function holding(task: ClaimedTask, { id, ending }: SagaRow, rev: number): Sql {
  const known = ending === null ? sql`ending is null` : sql`ending is not null`;
  if (rev > 0)
    return sql`mine as (select id from plimsoll.saga where id = ${id} and rev = ${rev} and ${known} for share)`;
  return sql`
    claim as (${ours(task)} for update), mine as (
      update plimsoll.saga set rev = 1, updated_at = now()
      where id = ${id} and task = (select id from claim) and ${known} returning id)`;
}

export function lockSaga(id: string): Sql {
  return sql`select ${columns} from plimsoll.saga s where s.id = ${id} for update`;
}

export function readHistory(saga: string): Sql {
  return sql`
    select seq, kind, place, op, name, operation, input, output, compensation, error, waits_ms as "waitsMs", who, why,
      extract(epoch from at)::float8 * 1000 as "atMs"
    from plimsoll.saga_step where saga = ${saga} order by seq`;
}

/** Adds to the history, in the given order. `gate` is a part of the statement without whose row nothing is added. */
export function insertRows(saga: string, rows: readonly NewRow[], gate: Sql = sql`(select 1) gate`): Sql {
  return sql`
    insert into plimsoll.saga_step (saga, kind, place, op, name, operation, input, output, compensation, error, waits_ms,
      who, why)
    select ${saga}, r->>'kind', coalesce(r->>'place', ''), r->>'op', r->>'name', r->>'operation', r->'input', r->'output',
      r->'compensation', r->'error', (r->>'waitsMs')::float8, r->>'who', r->>'why'
    from ${gate}, jsonb_array_elements(${sql.json(rows)}) with ordinality as list (r, place) order by list.place`;
}

/** Begins and ends waits for events as the rows say. */
export function changeWaits(
  saga: string,
  rows: readonly NewRow[],
  gate: Sql = sql`(select 1) gate`,
): readonly Sql[] {
  const began = rows.filter(({ kind, op }) => kind === 'began' && op === 'event');
  const ended = rows.filter(({ kind, op }) => (kind === 'done' || kind === 'arrived') && op === 'event');
  return [
    ...(began.length === 0
      ? []
      : [
          sql`
    insert into plimsoll.saga_wait (saga, place, event_type, key, after)
    select ${saga}, r->>'place', r->>'operation', r#>>'{input,value,key}',
      coalesce((r#>>'{input,value,after}')::bigint, (select since from plimsoll.saga where id = ${saga}))
    from ${gate}, jsonb_array_elements(${sql.json(began)}) r on conflict do nothing`,
        ]),
    ...(ended.length === 0
      ? []
      : [
          sql`
    delete from plimsoll.saga_wait
    where saga = ${saga} and place = any(${ended.map(({ place }) => place ?? '')}) and exists (select 1 from ${gate})`,
        ]),
  ];
}
