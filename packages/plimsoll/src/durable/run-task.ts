import type { Database } from '../database/database.ts';
import { background, tasks as taskChannel, type TaskMessage } from '../kernel/channels.ts';
import { Cancellation } from '../kernel/cancellation.ts';
import type { Clock } from '../kernel/clock.ts';
import { isPlimsollError, PlimsollError } from '../kernel/errors.ts';
import { taskSpan } from '../kernel/trace.ts';
import type { Sql } from '../database/sql.ts';
import { askedMs, backoffMs, type BackoffOptions } from './backoff.ts';
import { createCompletions } from './completions.ts';
import { OutcomeReturned, TaskOutcome } from './outcome.ts';
import { endCancelled, releaseFailed, releaseSnoozed } from './settle.ts';
import type { ClaimedTask } from './task.ts';

/** What a handler gets besides its task. */
export interface TaskControl {
  /** Cancelled when somebody ends the task, or its worker no longer has it: then no effect of it can commit. */
  readonly cancellation: Cancellation;
  /**
   * Ends the task instead of `completeTask`, together with others, for a handler that wrote nothing: false when it was
   * no longer ours. Undefined for a task of an order key.
   */
  readonly complete: (() => Promise<boolean>) | undefined;
}

/**
 * Runs one task and, in the transaction that holds its effects, ends it with `completeTask`. Returns an outcome, or
 * throws, to have it dealt with otherwise: a throw is a failed attempt; PL_TASK_LOST says that it was no longer ours.
 */
export type TaskHandler = (
  task: ClaimedTask,
  control?: TaskControl,
) => Promise<TaskOutcome | undefined | void>;

type Ending = TaskMessage['outcome'];

export interface TaskRunnerOptions {
  readonly database: Database;
  readonly handlers: ReadonlyMap<string, TaskHandler>;
  readonly backoff: BackoffOptions;
  readonly random: () => number;
  readonly clock: Clock;
  /** Whether tasks of that worker are still ours. */
  readonly isPresent: (worker: number) => boolean;
}

/** Runs claimed tasks and writes down how they ended. */
export interface TaskRunner {
  /**
   * Resolves when the task has ended or was given back; never rejects. `onHandled` is called before, when only its end
   * is left to be written, together with those of others.
   */
  run(task: ClaimedTask, onHandled: () => void): Promise<void>;
  /** Of what is under way. */
  ids(): readonly string[];
  /** Ends a running task for good, as soon as its handler gives up. */
  cancel(id: string, attempt: number, reason: string): void;
  /** The worker has lost or given back all that it runs. */
  abandon(worker: number): void;
}

interface Running extends TaskControl {
  readonly task: ClaimedTask;
  /** Set when somebody asked to end it. */
  cancelReason: string | undefined;
}

export function createTaskRunner(options: TaskRunnerOptions): TaskRunner {
  const { database, handlers, clock } = options;
  const { scope } = database;
  const running = new Set<Running>();
  const complete = createCompletions(database);

  async function run(task: ClaimedTask, onHandled: () => void): Promise<void> {
    const one: Running = {
      task,
      cancellation: new Cancellation(),
      complete:
        task.orderKey === null
          ? () => {
              onHandled();
              return complete(task);
            }
          : undefined,
      cancelReason: task.cancelReason ?? undefined,
    };
    const startedMs = clock.monotonicMs();
    running.add(one);
    try {
      if (one.cancelReason !== undefined) return report(one, startedMs, ...(await settle(one, undefined)));
      const handler = handlers.get(task.name);
      if (handler === undefined) throw new Error(`no handler for task ${task.name}`);
      const outcome = await handler(task, one);
      if (outcome === undefined) report(one, startedMs, 'done');
      else report(one, startedMs, ...(await settle(one, outcome)));
    } catch (error) {
      if (isPlimsollError(error, 'PL_TASK_LOST')) report(one, startedMs, 'lost', error);
      else report(one, startedMs, ...(await settle(one, error)));
    } finally {
      running.delete(one);
    }
  }

  /** What was returned or thrown instead of a result. */
  async function settle({ task, cancelReason }: Running, ended: unknown): Promise<[Ending, unknown?]> {
    if (cancelReason !== undefined)
      return [await written(task, endCancelled(task, cancelReason), 'cancelled')];
    const outcome = ended instanceof TaskOutcome ? ended : undefined;
    if (outcome?.kind === 'cancel')
      return [await written(task, endCancelled(task, outcome.reason), 'cancelled')];
    if (outcome?.kind === 'snooze')
      return [await written(task, releaseSnoozed(task, outcome.delayMs ?? 0), 'snoozed')];
    const failure = outcome === undefined ? ended : new OutcomeReturned(outcome);
    // Who was told when to come back, by an open breaker or a rate limit, would only use up its attempts before.
    const delayMs =
      outcome?.delayMs ??
      Math.max(backoffMs(task.attempt, options.backoff, options.random), askedMs(failure));
    return [await written(task, releaseFailed(task, failure, delayMs), 'retry'), failure];
  }

  /** It must be written down, or the task would stay ours for ever: retried until it is, or we are gone. */
  async function written(task: ClaimedTask, statement: Sql, ending: Ending): Promise<Ending> {
    for (;;) {
      try {
        const row = await database.maybeOne<{ state: string }>(statement);
        if (row === undefined) return 'lost';
        return row.state === 'parked' ? 'parked' : ending;
      } catch (error) {
        background.publish({ scope, what: `recording the end of task ${task.name} ${task.id}`, error });
        if (!options.isPresent(task.worker)) return 'lost';
        await clock.sleep(500);
      }
    }
  }

  function report({ task }: Running, startedMs: number, outcome: Ending, error?: unknown): void {
    if (!taskChannel.hasSubscribers) return;
    const { name, kind, attempt, lagMs, correlationId } = task;
    taskChannel.publish({
      scope,
      name,
      kind,
      outcome,
      attempt,
      lagMs,
      correlationId,
      span: taskSpan(task),
      durationMs: clock.monotonicMs() - startedMs,
      ...(error === undefined ? {} : { error }),
    });
  }

  return {
    run,
    ids: () => Array.from(running, ({ task }) => task.id),
    cancel(id, attempt, reason) {
      for (const one of running) {
        if (one.task.id !== id || one.task.attempt !== attempt) continue;
        one.cancelReason ??= reason;
        one.cancellation.cancel(
          new PlimsollError('PL_ABORTED', `task ${one.task.name} ${id}: cancelled: ${reason}`),
        );
      }
    },
    abandon(worker) {
      for (const { task, cancellation } of running) {
        if (task.worker !== worker) continue;
        cancellation.cancel(
          new PlimsollError('PL_TASK_LOST', `task ${task.name} ${task.id}: this worker no longer has it`),
        );
      }
    },
  };
}
