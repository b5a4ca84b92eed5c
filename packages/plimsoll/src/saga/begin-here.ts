import type { NewTask } from '../durable/task.ts';
import type { NewRow } from './history.ts';
import type { NewSaga } from './statements.ts';

/** A saga whose code has begun before the COMMIT of the transaction that starts it. */
export interface BegunHere {
  /** To be written instead of what was asked for: as running here. */
  readonly saga: NewSaga;
  readonly task: NewTask;
  /** To be written with the saga if it is new: what its code has asked for. Nothing of that is called yet. */
  readonly rows: readonly NewRow[];
  /** It goes on. `isNew`: not one whose id was taken. */
  readonly committed: (isNew: boolean) => void;
  readonly rolledBack: () => void;
  /** The COMMIT was not answered. */
  readonly unknown: () => void;
}

/** Begins a saga that a transaction is about to write; undefined where it has to wait its turn as a task. */
export type BeginHere = (saga: NewSaga, task: NewTask) => Promise<BegunHere | undefined>;
