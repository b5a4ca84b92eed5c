import { randomUUID } from 'node:crypto';
import type { Database } from '../database/database.ts';
import { sql, type Sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { completeTask, insertTasks, type ClaimedTask } from '../durable/task.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { Superseded, type Trouble } from './failure.ts';
import type { Kept, NewRow } from './history.ts';
import {
  changeWaits,
  insertRows,
  insertSagas,
  lockSaga,
  takeSaga,
  turnTask,
  type NewSaga,
  type SagaRow,
  type SagaState,
} from './statements.ts';

/** The saga of a claimed task; undefined when the task is not the one of its turn any more. PL_TASK_LOST. */
export async function take(database: Database, task: ClaimedTask, id: string): Promise<SagaRow | undefined> {
  const row = await database.one<SagaRow & { claimed: boolean }>(takeSaga(task, id));
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
 * Commits what a turn has added, in one statement. Superseded when another worker has the saga, or when somebody has
 * asked for it to be undone and this turn does not know.
 */
export async function save(
  database: Database,
  saga: SagaRow,
  { rows, children = [] }: Additions,
): Promise<void> {
  if (rows.length === 0 && children.length === 0) return;
  const ending = saga.ending === null ? sql`ending is null` : sql`ending is not null`;
  const gate = sql`mine`;
  const parts: Sql[] = [
    sql`mine as (
      update plimsoll.saga set updated_at = now() where id = ${saga.id} and rev = ${saga.rev} and ${ending} returning id)`,
    sql`added as (${insertRows(saga.id, rows, gate)})`,
    ...changeWaits(saga.id, rows, gate).map(
      (change, index) => sql`${sql.id(`waits_${index}`)} as (${change})`,
    ),
  ];
  if (children.length === 0) {
    const { n } = await database.one<{ n: number }>(
      sql`with ${sql.join(parts)} select count(*)::int as n from mine`,
    );
    if (n !== 1) throw new Superseded();
    return;
  }
  await database.transaction(async (tx) => {
    const { n } = await tx.one<{ n: number }>(
      sql`with ${sql.join(parts)} select count(*)::int as n from mine`,
    );
    if (n !== 1) throw new Superseded();
    await tx.execute(insertSagas(children));
    await tx.execute(
      insertTasks(
        children.map((child) => turnTask(asRow(child), { id: child.task, delayMs: 0, backwards: false })),
      ),
    );
  });
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
export async function endTurn(
  database: Database,
  task: ClaimedTask,
  saga: SagaRow,
  rest: Rest,
): Promise<void> {
  if (rest.state === 'done' && saga.parent === null) return endAlone(database, task, saga, rest);
  await database.transaction(async (tx) => {
    // The task before the saga, as when it is taken: two workers at one task wait in turn, and never in a circle.
    if ((await tx.execute(completeTask(task))) !== 1) throw lost(task);
    const now = await tx.one<SagaRow>(lockSaga(saga.id));
    if (now.rev !== saga.rev || now.signals !== saga.signals) throw new Superseded();
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

/** {@link endTurn} of most sagas, which nobody waits for and nothing follows: one statement instead of five. */
async function endAlone(database: Database, task: ClaimedTask, saga: SagaRow, rest: Rest): Promise<void> {
  const added =
    rest.rows.length === 0 ? sql.empty : sql`, added as (${insertRows(saga.id, rest.rows, sql`seen`)})`;
  // Locks the task and then the saga, and writes only if both are as they were.
  const { ours, seen } = await database.one<{ ours: boolean; seen: boolean }>(sql`
    with claim as (
      select id from plimsoll.task
      where id = ${task.id} and worker = ${task.worker} and attempt = ${task.attempt} and state = 'running' for update
    ), seen as (
      select id from plimsoll.saga
      where id = ${saga.id} and rev = ${saga.rev} and signals = ${saga.signals} and exists (select 1 from claim) for update
    ), ended as (
      delete from plimsoll.task where id in (select id from claim) and exists (select 1 from seen)
    ), waits as (
      delete from plimsoll.saga_wait where saga in (select id from seen)
    ), moved as (
      update plimsoll.saga set state = 'done', task = null, trouble = null, updated_at = now(),
        result = ${orNull(rest.result)}
      where id in (select id from seen)
    )${added}
    select exists (select 1 from claim) as ours, exists (select 1 from seen) as seen`);
  if (!ours) throw lost(task);
  if (!seen) throw new Superseded();
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
    ${also} update plimsoll.saga set state = ${state}, task = ${next}, updated_at = now(), result = ${orNull(rest.result)},
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

/** From now on it goes backwards; the turn goes on with that. Superseded as for {@link endTurn}. */
export async function turnBack(
  database: Database,
  saga: SagaRow,
  rows: readonly NewRow[],
  error: NonNullable<SagaRow['error']>,
): Promise<void> {
  await database.transaction(async (tx) => {
    const now = await tx.one<SagaRow>(lockSaga(saga.id));
    if (now.rev !== saga.rev || now.signals !== saga.signals) throw new Superseded();
    const failed: NewRow = { kind: 'failed', operation: error.error, output: { value: error.data ?? null } };
    await addRows(tx, saga.id, [...rows, failed]);
    await tx.execute(sql`
      update plimsoll.saga set state = 'compensating', undoing = true, error = ${sql.json(error)}, updated_at = now()
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
