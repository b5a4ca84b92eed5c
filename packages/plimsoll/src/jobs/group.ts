import type { Database } from '../database/database.ts';
import { sql, type Sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { OutcomeReturned, TaskOutcome } from '../durable/outcome.ts';
import { allOurs, keepResult } from '../durable/settle.ts';
import { taskContext } from '../durable/task-context.ts';
import { holdOrders, taskLost, type ClaimedTask } from '../durable/task.ts';
import type { TaskControl, TaskHandler } from '../durable/worker.ts';
import { systemClock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { isPlimsollError } from '../kernel/errors.ts';

/** At most so many jobs in one transaction: above 64 savepoints the server has to look for them on disk. */
const most = 50;
/** Transactions at once, each on a connection of its own: most of their time is spent on the way to the server. */
const parallel = 3;
/** No job of a group begins after so long: the transaction holds back vacuum, and the locks of all its jobs. */
const openMs = 200;

/** One message: what the job wrote is kept, and the next one begins. */
const nextSavepoint = sql`release savepoint one; savepoint one`;

interface Waiting {
  readonly task: ClaimedTask;
  readonly control: TaskControl | undefined;
  readonly resolve: (outcome: TaskOutcome | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A handler whose jobs share transactions: those that wait while one is open run one after the other in the next one,
 * and commit together. One that fails takes back only its own, at the price of running its group once more, each job
 * behind a savepoint; a group that cannot commit is a failure of each. A job is fenced before it runs: its row stays
 * locked until the commit, so none has its effect twice. They never run side by side: in one transaction no lock would
 * keep them apart.
 */
export function groupHandler(
  database: Database,
  run: (task: ClaimedTask, tx: Transaction) => Promise<unknown>,
): TaskHandler {
  let waiting: Waiting[] = [];
  // Groups under way.
  let open = 0;

  async function work(): Promise<void> {
    while (waiting.length > 0) {
      // Shared out among those that may still begin, so that no connection idles.
      const size = Math.min(most, Math.ceil(waiting.length / (parallel - open + 1)));
      const group = waiting.slice(0, size);
      waiting = waiting.slice(size);
      const late = (await runGroup(group, false)) ?? (await runGroup(group, true)) ?? [];
      waiting = [...late, ...waiting];
    }
    open -= 1;
  }

  /** Settles all of them but those it returns, which did not have their turn; undefined when it settled none. */
  async function runGroup(
    group: readonly Waiting[],
    saves: boolean,
  ): Promise<readonly Waiting[] | undefined> {
    const settled: (() => void)[] = [];
    let late: readonly Waiting[] = [];
    try {
      await runInContext(createContext(), () =>
        database.transaction(async (tx) => {
          const ours = new Set((await tx.query<{ id: string }>(fence(group))).map(({ id }) => id));
          if (saves) await tx.execute(sql`savepoint one`);
          const untilMs = systemClock.monotonicMs() + openMs;
          const done: ClaimedTask[] = [];
          for (const [index, one] of group.entries()) {
            if (!ours.has(one.task.id)) {
              settled.push(() => one.reject(taskLost(one.task)));
              continue;
            }
            if (systemClock.monotonicMs() > untilMs) {
              late = group.slice(index);
              break;
            }
            settled.push(await runOne(tx, one, done, saves));
          }
          const ordered = done.flatMap(({ name, orderKey }) =>
            orderKey === null ? [] : [{ name, orderKey }],
          );
          if (ordered.length > 0) await tx.query(holdOrders(ordered));
          if (done.length > 0) await tx.execute(end(done));
        }),
      );
      for (const settle of settled) settle();
      return late;
    } catch (error) {
      // All is taken back, also where a job has kept to itself that a statement of it failed: who it was shows next time.
      if (!saves && !isPlimsollError(error, 'PL_COMMIT_UNKNOWN')) return undefined;
      for (const { reject } of group) reject(error);
      return [];
    }
  }

  /** Returns how to tell its end, once the group is committed. */
  async function runOne(
    tx: Transaction,
    one: Waiting,
    done: ClaimedTask[],
    saves: boolean,
  ): Promise<() => void> {
    const { task, control, resolve, reject } = one;
    try {
      const result = await runInContext(taskContext(database, task, `job:${task.id}`, control), () =>
        run(task, tx),
      );
      if (result instanceof TaskOutcome) throw new OutcomeReturned(result);
      if (task.keepResult) await tx.execute(keepResult(task, result));
      if (saves) await tx.execute(nextSavepoint);
      done.push(task);
      return () => resolve(undefined);
    } catch (error) {
      if (!saves) throw error;
      // When this fails, so does the group: the connection is gone.
      await tx.execute(sql`rollback to savepoint one`);
      return error instanceof OutcomeReturned ? () => resolve(error.outcome) : () => reject(error);
    }
  }

  return (task, control) =>
    new Promise((resolve, reject) => {
      waiting.push({ task, control, resolve, reject });
      if (open === parallel) return;
      open += 1;
      // What else comes in this turn may be of the same group.
      setImmediate(() => void work());
    });
}

/** The rows of those that are still ours, locked until the commit. */
function fence(group: readonly Waiting[]): Sql {
  return sql`
    select id from plimsoll.task where ${allOurs(group.map(({ task }) => task))} for update`;
}

function end(done: readonly ClaimedTask[]): Sql {
  return sql`delete from plimsoll.task where id = any(${done.map(({ id }) => id)}::uuid[])`;
}
