import { throwIfProblems } from '../kernel/errors.ts';

/** What a handler may return besides a result: its task is not done. What it wrote is rolled back. */
export class TaskOutcome {
  readonly kind: 'retry' | 'snooze' | 'cancel';
  /** Undefined: after the usual backoff. */
  readonly delayMs: number | undefined;
  readonly reason: string;

  /** @internal Made by {@link retry}, {@link snooze} and {@link cancel}. */
  constructor(kind: TaskOutcome['kind'], delayMs: number | undefined, reason: string) {
    this.kind = kind;
    this.delayMs = delayMs;
    this.reason = reason;
  }
}

/** `return retry({ reason: 'no answer yet' })`: a failed attempt, told as such; parked after the last one. */
export function retry(options: {
  /** Milliseconds until the next attempt. Default: the backoff of the worker. */
  readonly delayMs?: number;
  readonly reason: string;
}): TaskOutcome {
  if (options.delayMs !== undefined) assertDelay('retry', options.delayMs);
  return new TaskOutcome('retry', options.delayMs, options.reason);
}

/** `return snooze(60_000)`: not now, but in so many milliseconds; does not count as an attempt. */
export function snooze(delayMs: number): TaskOutcome {
  assertDelay('snooze', delayMs);
  return new TaskOutcome('snooze', delayMs, 'snoozed');
}

/** `return cancel('the order is gone')`: ends the task for good, without effect and without a dead letter. */
export function cancel(reason: string): TaskOutcome {
  return new TaskOutcome('cancel', undefined, reason);
}

function assertDelay(what: string, delayMs: number): void {
  if (Number.isFinite(delayMs) && delayMs >= 0) return;
  throwIfProblems(what, [{ path: 'delayMs', message: `is ${delayMs}; give milliseconds from 0` }]);
}

/** Carries an outcome past the transaction, which it rolls back. */
export class OutcomeReturned extends Error {
  override readonly name = 'OutcomeReturned';
  readonly outcome: TaskOutcome;
  constructor(outcome: TaskOutcome) {
    super(`${outcome.kind}: ${outcome.reason}`);
    this.outcome = outcome;
  }
}
