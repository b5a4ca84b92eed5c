import type { Database } from '../../src/database/database.ts';

/** The process died: nothing it does later reaches the database, and what was on its way back is lost. */
export class Died extends Error {
  override readonly name = 'Died';
}

/** Where a process dies: at its nth statement or transaction, before it is sent or after it is committed. */
export interface Death {
  readonly at: number;
  readonly when: 'before' | 'after';
}

/** A database as seen by a process that dies. `onSend` is called for each statement and transaction. */
export function mortal(
  database: Database,
  death: Death | undefined,
  onSend: () => void = () => undefined,
): Database {
  let sent = 0;
  let dead = false;

  async function guard<T>(send: () => Promise<T>): Promise<T> {
    if (dead) throw new Died();
    sent += 1;
    const last = sent === death?.at;
    if (last && death?.when === 'before') {
      dead = true;
      throw new Died();
    }
    onSend();
    const result = await send();
    if (last) dead = true;
    if (dead) throw new Died();
    return result;
  }

  return {
    ...database,
    query: (statement) => guard(() => database.query(statement)),
    one: (statement) => guard(() => database.one(statement)),
    maybeOne: (statement) => guard(() => database.maybeOne(statement)),
    execute: (statement) => guard(() => database.execute(statement)),
    transaction: (work, options) => guard(() => database.transaction(work, options)),
  } as Database;
}
