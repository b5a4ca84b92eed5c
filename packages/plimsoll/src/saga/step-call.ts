import type { Queryable } from '../database/statements.ts';
import type { StepCommand } from './callable.ts';
import { StepFailed, Superseded } from './failure.ts';
import type { NewRow } from './history.ts';

/** What of a transaction a record needs. */
export type RecordTx = Pick<Queryable, 'one' | 'execute'>;

/**
 * Records what a step came to in the transaction of its command, where that is one of the saga's database: effect and
 * record are then one commit, and the command need not know its key. To be called last, with what the caller of the
 * command gets; when it throws, the transaction must be rolled back. Who does not call it is recorded afterwards.
 */
export type RecordStep = (tx: RecordTx, result: unknown) => Promise<void>;

/** The call of one step. */
export interface StepCall {
  readonly place: string;
  readonly command: StepCommand;
  readonly input: unknown;
  /** Names the step in the key of its command. */
  readonly key: string;
  /** What is recorded of a result. A throw is a fault of the saga's code, and nothing of the step may be committed. */
  readonly rowOf: (result: unknown) => NewRow;
}

/** What of a turn one call needs. */
export interface StepCalling {
  readonly call: (call: StepCall, record: RecordStep) => Promise<unknown>;
  /** Writes the row; `committed` resolves when its transaction has, and never when it has not. */
  readonly recordIn: (tx: RecordTx, row: NewRow, committed: Promise<void>) => Promise<void>;
}

/** `recorded`: with its effect. `returned`: it is left to be recorded. `threw`: to be called again. */
export type StepEnd =
  | { readonly kind: 'recorded' | 'returned'; readonly row: NewRow }
  | { readonly kind: 'threw'; readonly error: unknown };

/**
 * Calls a command once. Rejects with what its code is at fault for; with {@link Superseded} or {@link StepFailed} when
 * a transaction that has the record did not commit, as far as is known: what was done with it is not so.
 */
export async function callStep(calling: StepCalling, step: StepCall): Promise<StepEnd> {
  const committed = Promise.withResolvers<void>();
  let given: NewRow | undefined;
  let fault: { readonly error: unknown } | undefined;

  async function record(tx: RecordTx, result: unknown): Promise<void> {
    // A guard that makes a failed call again: what the second one came to need not be what the first one did.
    if (given !== undefined) throw new Error('the transaction that recorded the step did not commit');
    try {
      given = step.rowOf(result);
    } catch (error) {
      fault = { error };
      throw error;
    }
    await calling.recordIn(tx, given, committed.promise);
  }

  let result: unknown;
  try {
    result = await calling.call(step, record);
  } catch (error) {
    if (fault !== undefined) throw fault.error;
    if (given === undefined) return { kind: 'threw', error };
    throw error instanceof Superseded ? error : new StepFailed(step.place, error);
  }
  if (given === undefined) return { kind: 'returned', row: step.rowOf(result) };
  committed.resolve();
  return { kind: 'recorded', row: given };
}
