import { begin, runInAttempt, type Attempt, type Work } from '../kernel/attempt.ts';
import type { ContextWatch } from '../kernel/context-watch.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { HedgedAttempt } from './repeat-attempt.ts';

/** What a hedged call asks of its guard. */
export interface HedgeRules {
  readonly name: string;
  readonly ambient: boolean;
  readonly watch: ContextWatch;
  readonly retryable: (error: unknown) => boolean;
  readonly nowMs: () => number;
  /** Whether a second call may be made now; takes it from the budget. */
  readonly mayHedge: (within: Attempt | undefined) => boolean;
  readonly onSuccess: (tookMs: number) => void;
}

/**
 * One call, and a second one beside it when the first takes longer than `delayMs`. The first success wins and the
 * other is aborted; so does an error that is an answer. An error that may be retried waits for the other.
 */
export function hedgedCall<T>(
  work: Work<T>,
  within: Attempt | undefined,
  delayMs: number,
  rules: HedgeRules,
  made: { count: number },
): Promise<T> {
  const startedMs = rules.nowMs();
  const attempts: HedgedAttempt[] = [];
  let underWay = 0;
  let settled = false;
  const { promise: slow, resolve: becomeSlow } = Promise.withResolvers<void>();
  const timed = rules.watch.add({ deadlineAtMs: startedMs + delayMs, onDeadline: becomeSlow });

  return new Promise<T>((resolve, reject) => {
    function settle(): void {
      settled = true;
      rules.watch.remove(timed);
      for (const attempt of attempts)
        if (attempt.open)
          attempt.abort(new PlimsollError('PL_ABORTED', `${rules.name}: another attempt was answered first`));
    }

    function start(): void {
      made.count += 1;
      underWay += 1;
      const attempt = new HedgedAttempt(made.count, within);
      attempts.push(attempt);
      const running = rules.ambient ? runInAttempt(attempt, begin, work) : begin(work, attempt);
      running.then(
        (value) => {
          attempt.end();
          if (settled) return;
          settle();
          rules.onSuccess(rules.nowMs() - startedMs);
          resolve(value);
        },
        (error: unknown) => {
          attempt.end();
          underWay -= 1;
          if (settled || (underWay > 0 && rules.retryable(error))) return;
          settle();
          reject(error as Error);
        },
      );
    }

    start();
    // In a reaction, not in the timer: it runs in the context of the caller.
    void slow.then(() => {
      if (!settled && rules.mayHedge(within)) start();
    });
  });
}
