import type { Database } from '../database/database.ts';
import { askedMs, backoffMs, type BackoffOptions } from '../durable/backoff.ts';

import { PlimsollError } from '../kernel/errors.ts';
import { settledOf, type StepCommand } from './callable.ts';
import { askToEnd } from './ending.ts';
import { Superseded, troubleOf, type Trouble } from './failure.ts';
import type { History, Undoable } from './history.ts';
import { childId } from './statements.ts';
import type { RecordStep } from './step-call.ts';
import { save, saveIn, type Held } from './store.ts';

/** Calls of one compensation before the saga is stuck. */
export const maxUndoAttempts = 20;

export interface Compensating {
  readonly database: Database;
  readonly held: Held;
  readonly history: History;
  readonly backoff: BackoffOptions;
  readonly random: () => number;
  readonly call: (operation: string, input: unknown, key: string, record: RecordStep) => Promise<unknown>;
  readonly commandOf: (operation: string) => StepCommand | undefined;
}

/** How a turn that goes backwards ended. */
export type Undone =
  | { readonly kind: 'compensated' }
  | { readonly kind: 'waits'; readonly wakeMs: number | undefined }
  | { readonly kind: 'stuck'; readonly trouble: Trouble };

/**
 * Undoes what is done, newest first, from what is recorded: none of the saga's code is needed. Each compensation is
 * called until it has gone well; one that fails again and again leaves the saga stuck, with all later ones done.
 */
export async function compensate(going: Compensating): Promise<Undone> {
  const { database, held, history } = going;
  for (;;) {
    const next = history.undoable()[0];
    if (next === undefined) return { kind: 'compensated' };
    const { place, name, compensation } = next;
    if (compensation === undefined) {
      if (!(await askChild(going, next))) return { kind: 'waits', wakeMs: undefined };
      history.add({ kind: 'undone', place, op: 'child' });
    } else {
      const { operation, input } = compensation;
      const row = { kind: 'undone' as const, place, op: 'step' as const, operation };
      let recorded = false;
      try {
        const result = await going.call(
          operation,
          input.value,
          `${place}:${name}/undo`,
          async (tx, given) => {
            assertWent(going, operation, given);
            await saveIn(tx, held, { rows: [row] });
            recorded = true;
          },
        );
        if (!recorded) assertWent(going, operation, result);
      } catch (error) {
        if (error instanceof Superseded) throw error;
        return failed(going, next, error);
      }
      if (recorded) history.note(row);
      else history.add(row);
    }
    await save(database, held, { rows: history.takePending() });
  }
}

/** A declared failure is no better than a throw here: what is done must be undone. */
function assertWent({ commandOf }: Compensating, operation: string, result: unknown): void {
  const command = commandOf(operation);
  if (command === undefined) return;
  const settled = settledOf(command, result);
  if (settled.ok) return;
  throw new PlimsollError(
    'PL_SAGA_UNDO_FAILED',
    `the compensation ${operation} failed with ${settled.error} ${JSON.stringify(settled.data)}`,
    { data: { operation, error: settled.error, data: settled.data } },
  );
}

function failed(
  { history, backoff, random }: Compensating,
  { place, name, tries }: Undoable,
  error: unknown,
): Undone {
  history.add({ kind: 'undo_threw', place, op: 'step', error: troubleOf(error) });
  const attempts = tries + 1;
  if (attempts >= maxUndoAttempts) {
    const trouble = troubleOf(error);
    return {
      kind: 'stuck',
      trouble: {
        ...trouble,
        message: `what undoes step ${JSON.stringify(name)} failed ${attempts} times, at last with: ${trouble.message}`,
      },
    };
  }
  return { kind: 'waits', wakeMs: Math.max(backoffMs(attempts, backoff, random), askedMs(error)) };
}

/** Whether the child is undone; if not, it has been asked to, and tells its parent when it is. */
async function askChild(
  { database, held: { saga } }: Compensating,
  { place, operation }: Undoable,
): Promise<boolean> {
  const child = childId(operation, saga.id, place);
  const state = await database.transaction((tx) =>
    askToEnd(tx, child, 'compensate', {
      who: `saga ${saga.id}`,
      why: 'its parent is compensated',
      assumeUndone: false,
    }),
  );
  return state === 'compensated';
}
