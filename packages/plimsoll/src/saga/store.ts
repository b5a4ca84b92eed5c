import { randomUUID } from 'node:crypto';
import type { Database } from '../database/database.ts';
import { prepared, sql, type Sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { completeTask, insertTasks, type ClaimedTask } from '../durable/task.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { Superseded, type Trouble } from './failure.ts';
import type { Kept, NewRow } from './history.ts';
import type { RecordTx } from './step-call.ts';
import {
  changeWaits,
  holding,
  insertRows,
  insertSagas,
  lockSaga,
  lookAtNew,
  ours,
  takeSaga,
  turnTask,
  type NewSaga,
  type SagaRow,
  type SagaState,
} from './statements.ts';

/** A saga in the hands of the worker whose turn it is. */
export interface Held {
  readonly task: ClaimedTask;
  /** As it was when the turn began. */
  readonly saga: SagaRow;
  /** What the saga's `rev` must be for this turn to write; 0 until the first write of a new saga has taken it. */
  rev: number;
  /** Set once a step's transaction has written the end of the turn too. */
  ended: boolean;
}

/**
 * The saga of a claimed task; undefined when the task is not the one of its turn any more. What nobody has written
 * for is only looked at: its first write takes it. PL_TASK_LOST.
 */
export async function take(database: Database, task: ClaimedTask, id: string): Promise<Held | undefined> {
  const mayBeNew = task.attempt === 1;
  const saga =
    (mayBeNew ? await taken(database, task, lookAtNew(task, id)) : undefined) ??
    (await taken(database, task, takeSaga(task, id)));
  return saga === undefined ? undefined : { task, saga, rev: saga.rev, ended: false };
}

/** A saga that is about to be written as begun by this task. `atMs`: the time of the database. */
export function heldNew(saga: NewSaga, task: ClaimedTask, atMs: number): Held {
  const { id, module, name, version, input, correlationId, causationId = null, caller, rev = 0 } = saga;
  const begun = { id, module, name, version, input, correlationId, causationId, caller, rev };
  const nothingYet = { parent: null, parentPlace: null, error: null, trouble: null, ending: null };
  return {
    task,
    saga: {
      ...begun,
      ...nothingYet,
      state: 'running',
      undoing: false,
      signals: 0,
      erased: false,
      task: saga.task,
      atMs,
      createdMs: atMs,
    },
    rev,
    ended: false,
  };
}

async function taken(database: Database, task: ClaimedTask, statement: Sql): Promise<SagaRow | undefined> {
  const row = await database.one<SagaRow & { claimed: boolean }>(prepared(statement));
  if (!row.claimed) throw lost(task);
  return (row.id as string | null) === null ? undefined : row;
}

function lost(task: ClaimedTask): PlimsollError {
  return new PlimsollError(
    'PL_TASK_LOST',
    `task ${task.name} ${task.id}, attempt ${task.attempt}: another worker has taken it over`,
  );
}

/** What one write of a turn adds. */
export interface Additions {
  readonly rows: readonly NewRow[];
  readonly children?: readonly NewSaga[];
}

/**
 * Commits what a turn has added. Superseded when another worker has the saga, or when somebody has asked for it to be
 * undone and this turn does not know.
 */
export function save(database: Database, held: Held, additions: Additions): Promise<void> {
  const { rows, children = [] } = additions;
  if (rows.length === 0 && children.length === 0) return Promise.resolve();
  return children.length === 0
    ? saveIn(database, held, additions)
    : database.transaction((tx) => saveIn(tx, held, additions));
}

/** {@link save} in a transaction, which is to be rolled back when this throws: nothing else may write until it ends. */
export async function saveIn(tx: RecordTx, held: Held, { rows, children = [] }: Additions): Promise<void> {
  const { saga } = held;
  const parts: Sql[] = [
    holding(held.task, saga, held.rev),
    sql`added as (${insertRows(saga.id, rows, sql`mine`)})`,
    ...changeWaits(saga.id, rows, sql`mine`).map(
      (change, index) => sql`${sql.id(`waits_${index}`)} as (${change})`,
    ),
  ];
  const { n } = await tx.one<{ n: number }>(
    prepared(sql`with ${sql.join(parts)} select count(*)::int as n from mine`),
  );
  if (n !== 1) throw new Superseded();
  if (children.length > 0) {
    await tx.execute(insertSagas(children));
    await tx.execute(
      insertTasks(
        children.map((child) => turnTask(asRow(child), { id: child.task, delayMs: 0, backwards: false })),
      ),
    );
  }
  held.rev = Math.max(held.rev, 1);
}

/** What a task needs to know of a saga that is about to be. */
export function asRow(saga: NewSaga): Parameters<typeof turnTask>[0] {
  return { ...saga, causationId: saga.causationId ?? null };
}

/** Where a saga is after a turn. */
export interface Rest {
  readonly rows: readonly NewRow[];
  readonly state: SagaState;
  readonly result?: Kept;
  readonly trouble?: Trouble | null;
  /** When to go on; undefined: not by itself. */
  readonly nextMs?: number | undefined;
}

/**
 * Ends a turn: its last rows, where the saga is now, the next task and the end of this one commit together.
 * Superseded, and nothing written, when something came from outside that the turn has not seen.
 */
export async function endTurn(database: Database, held: Held, rest: Rest): Promise<void> {
  const { task, saga } = held;
  if (endsAlone(saga, rest.state)) return endAlone(database, held, rest);
  await database.transaction(async (tx) => {
    // The task before the saga, as when it is taken: two workers at one task wait in turn, and never in a circle.
    if ((await tx.execute(completeTask(task))) !== 1) throw lost(task);
    await lockHeld(tx, held);
    await tx.execute(restStatement(saga, rest));
    if (rest.state !== 'done' && rest.state !== 'compensated') return;
    if (saga.parent !== null && saga.parentPlace !== null) {
      const value =
        rest.state === 'done' ? { ok: true, value: rest.result?.value } : { ok: false, ...saga.error };
      await arrive(tx, saga.parent, {
        kind: 'arrived',
        place: saga.parentPlace,
        op: 'child',
        output: { value },
      });
    }
  });
}

/** Whether nobody waits for the end of this saga and nothing follows it: {@link endAlone} is all there is to do. */
export const endsAlone = ({ parent }: SagaRow, state: SagaState): boolean =>
  state === 'done' && parent === null;

/** {@link endTurn} of most sagas, in one statement; in a transaction, that one is to be rolled back when this throws. */
export async function endAlone(tx: RecordTx, held: Held, rest: Rest): Promise<void> {
  const { task, saga, rev } = held;
  const added =
    rest.rows.length === 0 ? sql.empty : sql`, added as (${insertRows(saga.id, rest.rows, sql`seen`)})`;
  // Locks the task and then the saga, and writes only if both are as they were.
  const { claimed, seen } = await tx.one<{ claimed: boolean; seen: boolean }>(
    prepared(sql`
    with claim as (${ours(task)} for update), seen as (
      select id from plimsoll.saga
      where id = ${saga.id} and rev = ${rev} and signals = ${saga.signals} and exists (select 1 from claim) for update
    ), ended as (
      delete from plimsoll.task where id in (select id from claim) and exists (select 1 from seen)
    ), waits as (
      delete from plimsoll.saga_wait where saga in (select id from seen)
    ), moved as (
      update plimsoll.saga set state = 'done', task = null, trouble = null, updated_at = now(), rev = rev + 1,
        result = ${orNull(rest.result)}
      where id in (select id from seen)
    )${added}
    select exists (select 1 from claim) as claimed, exists (select 1 from seen) as seen`),
  );
  if (!claimed) throw lost(task);
  if (!seen) throw new Superseded();
}

/** Whether the transaction that ended the turn has committed, although it was answered with a failure. */
export async function endCommitted(database: Database, { saga, rev, ended }: Held): Promise<boolean> {
  if (!ended) return false;
  // Waits for it, where it is still under way.
  const found = await database.query(sql`
    select id from plimsoll.saga where id = ${saga.id} and state = 'done' and rev = ${rev + 1} for share`);
  return found.length === 1;
}

function restStatement(saga: SagaRow, { rows, state, nextMs, ...rest }: Rest): Sql {
  const next = nextMs === undefined ? null : randomUUID();
  const task =
    next === null ? [] : [turnTask(saga, { id: next, delayMs: nextMs ?? 0, backwards: saga.undoing })];
  const waits =
    state === 'done' || state === 'compensated'
      ? [sql`delete from plimsoll.saga_wait where saga = ${saga.id}`]
      : changeWaits(saga.id, rows);
  const parts = [
    ...(rows.length === 0 ? [] : [insertRows(saga.id, rows)]),
    ...waits,
    ...(task.length === 0 ? [] : [insertTasks(task)]),
  ].map((part, index) => sql`${sql.id(`part_${index}`)} as (${part})`);
  const also = parts.length === 0 ? sql.empty : sql`with ${sql.join(parts)}`;
  return sql`
    ${also} update plimsoll.saga set state = ${state}, task = ${next}, rev = rev + 1, updated_at = now(), result = ${orNull(rest.result)},
      trouble = ${orNull(rest.trouble)}
    where id = ${saga.id}`;
}

/** SQL's null for what is absent, and not that of JSON. */
const orNull = (value: object | null | undefined): Sql =>
  value === undefined || value === null ? sql`null::jsonb` : sql.json(value);

export async function addRows(tx: Queryable, saga: string, rows: readonly NewRow[]): Promise<void> {
  if (rows.length === 0) return;
  await tx.execute(insertRows(saga, rows));
  for (const change of changeWaits(saga, rows)) await tx.execute(change);
}

/** Superseded when another worker has the saga, or when something came from outside that the turn has not seen. */
async function lockHeld(tx: Queryable, { saga, rev }: Held): Promise<void> {
  const now = await tx.one<SagaRow>(lockSaga(saga.id));
  if (now.task !== saga.task || now.rev !== rev || now.signals !== saga.signals) throw new Superseded();
}

/** From now on it goes backwards; the turn goes on with that. Superseded as for {@link endTurn}. */
export async function turnBack(
  database: Database,
  held: Held,
  rows: readonly NewRow[],
  error: NonNullable<SagaRow['error']>,
): Promise<void> {
  const { saga } = held;
  await database.transaction(async (tx) => {
    await lockHeld(tx, held);
    const failed: NewRow = { kind: 'failed', operation: error.error, output: { value: error.data ?? null } };
    await addRows(tx, saga.id, [...rows, failed]);
    await tx.execute(sql`
      update plimsoll.saga set state = 'compensating', undoing = true, error = ${sql.json(error)}, rev = rev + 1, updated_at = now()
      where id = ${saga.id}`);
    await tx.execute(sql`delete from plimsoll.saga_wait where saga = ${saga.id}`);
  });
}

/** Something came from outside, for a place of a saga: recorded, and the saga woken if it does not run. */
export async function arrive(tx: Queryable, id: string, row: NewRow): Promise<void> {
  const saga = await tx.maybeOne<SagaRow>(lockSaga(id));
  if (saga === undefined || saga.state === 'done' || saga.state === 'compensated') return;
  await addRows(tx, id, [row]);
  if (saga.state === 'stuck')
    await tx.execute(sql`update plimsoll.saga set signals = signals + 1 where id = ${id}`);
  else await wake(tx, saga);
}

/**
 * Makes a saga whose row is locked go on now. While a worker has it, that one is told: it cannot end its turn without
 * looking again. `backwards`: what is left needs none of its code.
 */
export async function wake(tx: Queryable, saga: SagaRow, backwards: boolean = saga.undoing): Promise<void> {
  const free = saga.task === null ? true : await dropTask(tx, saga.task);
  if (!free) {
    await tx.execute(sql`update plimsoll.saga set signals = signals + 1 where id = ${saga.id}`);
    return;
  }
  const next = randomUUID();
  await tx.execute(sql`
    update plimsoll.saga set signals = signals + 1, task = ${next}, updated_at = now(),
      state = case when undoing then 'compensating' else 'running' end
    where id = ${saga.id}`);
  await tx.execute(insertTasks([turnTask(saga, { id: next, delayMs: 0, backwards })]));
}

/**
 * Removes the task of a turn that has not begun. False when a worker has it, or is about to: without waiting, because
 * who takes a saga locks the task first and the saga after it.
 */
async function dropTask(tx: Queryable, task: string): Promise<boolean> {
  const { there, dropped } = await tx.one<{ there: boolean; dropped: boolean }>(sql`
    with gone as (
      delete from plimsoll.task where id = any(array(
        select id from plimsoll.task where id = ${task} and state <> 'running' for update skip locked))
      returning 1
    )
    select exists (select 1 from plimsoll.task where id = ${task}) as there, exists (select 1 from gone) as dropped`);
  return dropped || !there;
}
