import { systemClock, type Clock } from '../kernel/clock.ts';
import { contextWatch } from '../kernel/context-watch.ts';
import type { Entry } from './entry.ts';
import { late, type Outcome } from './outcome.ts';
import { laterMark, noMark, type Mark, type Position } from './position.ts';
import type { CachePolicy } from './policy.ts';
import type { Token } from './tag-table.ts';

/** One load of one key, and all who wait for it. */
export class Flight {
  readonly key: string;
  readonly number: number;
  readonly policy: CachePolicy;
  readonly tags: readonly string[];
  readonly token: Token;
  readonly startedMs: number;
  /** What the value must reflect: for what was invalidated, and for who began it. Grows when the shared tier knows more. */
  atLeast: Mark;
  /** What the loader said that it does. */
  reflected: Mark | undefined = undefined;
  /** The latest that its value may show. */
  shown: Position | undefined = undefined;
  /** Set when it has ended well, and what it brought may be kept. */
  entry: Entry | undefined = undefined;
  /** Of the table, then. */
  sequence = 0;
  /** A stale value that the shared tier had. */
  fallback: Entry | undefined = undefined;
  outcome: Promise<Outcome> = Promise.resolve(late);
  /** Set when it has ended or was given up; what comes after that is not kept. */
  result: Outcome | undefined = undefined;
  /** When it has failed: for how long it is not tried again. */
  failedForMs: number | undefined = undefined;
  /** Where its value came from. */
  from: 'shared' | 'loader' = 'loader';
  readonly #clock: Clock;
  // Made when the loader looks at the signal: most do not.
  #abort: AbortController | undefined = undefined;
  // What ends the waits when there is nothing to wait for any more.
  readonly #ends: (() => void)[] = [];
  readonly #outcomes = new Map<number, Promise<Outcome>>();

  constructor(of: {
    readonly key: string;
    readonly number: number;
    readonly policy: CachePolicy;
    readonly tags: readonly string[];
    readonly token: Token;
    readonly need: Mark;
    readonly clock: Clock;
  }) {
    this.key = of.key;
    this.number = of.number;
    this.policy = of.policy;
    this.tags = of.tags;
    this.token = of.token;
    this.atLeast = laterMark(of.need, of.token.floor);
    this.#clock = of.clock;
    this.startedMs = of.clock.monotonicMs();
  }

  get signal(): AbortSignal {
    return (this.#abort ??= new AbortController()).signal;
  }

  /** What the value is known to reflect. */
  get mark(): Mark {
    return laterMark(this.reflected ?? noMark, this.atLeast);
  }

  /** Whether the loader said that it reflects less than was asked. */
  get isBehind(): boolean {
    return this.reflected !== undefined && this.reflected < this.atLeast;
  }

  /** When it has been under way for so long; also when it has ended. */
  until(ms: number): Promise<void> {
    const untilMs = this.startedMs + ms;
    const leftMs = untilMs - this.#clock.monotonicMs();
    if (leftMs <= 0) return Promise.resolve();
    if (leftMs === Infinity) return new Promise(() => undefined);
    if (this.#clock !== systemClock) {
      const waiting = new AbortController();
      this.#ends.push(() => waiting.abort());
      return this.#clock.sleep(leftMs, waiting.signal);
    }
    // A place in a list in place of a timer and a signal: most loads end long before.
    const { promise, resolve } = Promise.withResolvers<void>();
    const unwatch = contextWatch.watchDeadline(untilMs, resolve);
    this.#ends.push(() => {
      unwatch();
      resolve();
    });
    return promise;
  }

  /** How it ended, if it does so in time and before the one who waits has gone. All who wait as long wait together. */
  within(ms: number, gone: Promise<Outcome> | undefined): Promise<Outcome> {
    let inTime = this.#outcomes.get(ms);
    if (inTime === undefined) {
      inTime = this.#inTime(ms);
      this.#outcomes.set(ms, inTime);
    }
    return gone === undefined ? inTime : Promise.race([inTime, gone]);
  }

  async #inTime(ms: number): Promise<Outcome> {
    const outcome = await Promise.race([this.outcome, this.until(ms).then(() => late)]);
    // All that wait for time to pass are woken when it ends, perhaps a moment before the outcome is there.
    return outcome.kind === 'late' && this.result !== undefined ? this.result : outcome;
  }

  end(): void {
    for (const end of this.#ends.splice(0)) end();
  }

  abandon(reason: unknown): void {
    this.#abort?.abort(reason);
    this.end();
  }
}
