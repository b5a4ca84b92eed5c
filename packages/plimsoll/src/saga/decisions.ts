import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import { jsonCopy } from '../kernel/json-copy.ts';
import { askToEnd } from './ending.ts';
import { History, type HistoryRow, type NewRow } from './history.ts';
import { lockKnown } from './known.ts';
import { readHistory, type SagaRow } from './statements.ts';
import { addRows, wake } from './store.ts';

/** Who decides by hand, and why; both stay in the history. */
export interface Decision {
  readonly who: string;
  readonly why: string;
}

type Decides = Pick<Database, 'transaction'>;

/**
 * Tries again at once what has failed: a saga that is stuck, or that waits for its next try. Its tries count from
 * the beginning. PL_SAGA_STATE when there is nothing to try again; PL_SAGA_UNKNOWN.
 */
export function retrySaga(database: Decides, id: string, decision: Decision): Promise<void> {
  return decide(database, id, 'retry', decision, async (tx, saga) => {
    if (saga.state !== 'stuck' && saga.task === null) throw unfit(saga, 'retry', 'it waits for the outside');
    await wake(tx, saga);
  });
}

/**
 * Goes on with a saga that is stuck, for instance once its code is what it was. With `step`: as if that step had
 * gone well, because somebody did it by hand, with `result` as its value; or, while the saga is being undone, as if
 * the step were undone. PL_SAGA_STATE when no such step is open; PL_SAGA_UNKNOWN.
 */
export function resumeSaga(
  database: Decides,
  id: string,
  decision: Decision & { readonly step?: string; readonly result?: unknown },
): Promise<void> {
  const { step, who, why } = decision;
  return decide(database, id, 'resume', decision, async (tx, saga) => {
    if (step === undefined) {
      if (saga.state !== 'stuck') throw unfit(saga, 'resume', 'only one that is stuck needs it');
      await wake(tx, saga);
      return;
    }
    const history = await historyOf(tx, saga);
    const open = saga.undoing
      ? history.undoable().filter(({ compensation }) => compensation !== undefined)
      : history.unsettled().map(({ place, known }) => ({ place, name: known.began?.name ?? '' }));
    const { place } = theOne(saga, open, step, saga.undoing ? 'to be undone' : 'open');
    const value: unknown = jsonCopy(decision.result, `result of step ${JSON.stringify(step)}`);
    const row: NewRow = saga.undoing
      ? { kind: 'undone', place, op: 'step', who, why }
      : { kind: 'arrived', place, op: 'step', output: value === undefined ? {} : { value }, who, why };
    await addRows(tx, id, [row]);
    await wake(tx, saga);
  });
}

/**
 * Undoes a saga: what it has under way is settled first, then every step that is done is undone, newest first.
 * `assumeUndone`: steps whose outcome is not known, because they threw or the process died, are not called again to
 * learn it, but taken not to have happened. PL_SAGA_STATE when it is being undone already; PL_SAGA_UNKNOWN.
 */
export function compensateSaga(
  database: Decides,
  id: string,
  { who, why, assumeUndone = false }: Decision & { readonly assumeUndone?: boolean },
): Promise<void> {
  return database.transaction(async (tx) => {
    assertSigned(id, { who, why });
    const saga = await lockKnown(tx, id);
    if (saga.undoing) throw unfit(saga, 'compensate', 'it is undone, or on the way');
    await askToEnd(tx, id, 'compensate', { who, why, assumeUndone });
  });
}

/** Stops a saga that has not ended, and undoes what it did, as {@link compensateSaga}. */
export function cancelSaga(database: Decides, id: string, { who, why }: Decision): Promise<void> {
  return database.transaction(async (tx) => {
    assertSigned(id, { who, why });
    const saga = await lockKnown(tx, id);
    if (saga.undoing || saga.state === 'done')
      throw unfit(saga, 'cancel', 'it has ended, or is on the way back');
    await askToEnd(tx, id, 'cancel', { who, why, assumeUndone: false });
  });
}

/** Says yes to what a saga waits for in `run.approval`. PL_SAGA_STATE when it does not; PL_SAGA_UNKNOWN. */
export function approveSaga(
  database: Decides,
  id: string,
  decision: Decision & { readonly approval?: string },
): Promise<void> {
  return answer(database, id, 'approved', decision);
}

/** Says no, as {@link approveSaga} says yes. */
export function rejectSaga(
  database: Decides,
  id: string,
  decision: Decision & { readonly approval?: string },
): Promise<void> {
  return answer(database, id, 'rejected', decision);
}

function answer(
  database: Decides,
  id: string,
  answered: 'approved' | 'rejected',
  { who, why, approval }: Decision & { readonly approval?: string },
): Promise<void> {
  const asked = answered === 'approved' ? 'approve' : 'reject';
  return decide(database, id, asked, { who, why }, async (tx, saga) => {
    const { place } = theOne(
      saga,
      (await historyOf(tx, saga)).approvals(),
      approval,
      'waiting to be decided',
    );
    const output = { value: { decision: answered, who, why } };
    await addRows(tx, id, [{ kind: 'arrived', place, op: 'approval', output, who, why }]);
    if (saga.state === 'stuck')
      await tx.execute(sql`update plimsoll.saga set signals = signals + 1 where id = ${id}`);
    else await wake(tx, saga);
  });
}

function decide(
  database: Decides,
  id: string,
  asked: string,
  { who, why }: Decision,
  act: (tx: Queryable, saga: SagaRow) => Promise<void>,
): Promise<void> {
  return database.transaction(async (tx) => {
    assertSigned(id, { who, why });
    const saga = await lockKnown(tx, id);
    if (saga.state === 'done' || saga.state === 'compensated') throw unfit(saga, asked, 'it has ended');
    await addRows(tx, id, [{ kind: 'asked', operation: asked, who, why }]);
    await act(tx, saga);
  });
}

/** Who reads the history later has nothing else to go by. */
function assertSigned(id: string, decision: Decision): void {
  const problems = (['who', 'why'] as const)
    .filter((part) => decision[part].trim() === '')
    .map((path) => ({ path, message: 'is empty; say it, it stays in the history' }));
  throwIfProblems(`the decision about saga ${id}`, problems);
}

async function historyOf(tx: Queryable, saga: SagaRow): Promise<History> {
  return new History(`saga ${saga.id}`, await tx.query<HistoryRow>(readHistory(saga.id)));
}

/** The place that is meant by a name or by itself; without one the only place there is. */
function theOne<Open extends { readonly place: string; readonly name: string }>(
  saga: SagaRow,
  open: readonly Open[],
  meant: string | undefined,
  what: string,
): Open {
  const found = open.filter(({ place, name }) => meant === undefined || meant === name || meant === place);
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  const list = open.map(({ place, name }) => `${name} (place ${place})`).join(', ') || 'none';
  throw new PlimsollError(
    'PL_SAGA_STATE',
    `saga ${saga.id}: ${found.length} steps ${what} are ${JSON.stringify(meant ?? 'it')}; name one by its name or place; there are: ${list}`,
    { data: { id: saga.id, meant: meant ?? null, open: open.map(({ place, name }) => ({ place, name })) } },
  );
}

function unfit(saga: SagaRow, asked: string, why: string): PlimsollError {
  return new PlimsollError(
    'PL_SAGA_STATE',
    `saga ${saga.id} is ${saga.state}: ${asked} does nothing, because ${why}`,
    {
      data: { id: saga.id, state: saga.state, asked },
    },
  );
}
