import type { Clock } from '../kernel/clock.ts';
import type { Entry } from './entry.ts';
import { late, type Outcome } from './outcome.ts';
import { laterMark, noMark, type Mark } from './position.ts';
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
  /** Set when it has ended well, and what it brought may be kept. */
  entry: Entry | undefined = undefined;
  /** Of the table, then. */
  sequence = 0;
  /** A stale value that the shared tier had. */
  fallback: Entry | undefined = undefined;
  readonly abort = new AbortController();
  readonly #clock: Clock;
  readonly #ended = new AbortController();
  readonly #waits = new Map<number, Promise<void>>();
  outcome: Promise<Outcome> = Promise.resolve(late);
  /** Set when it has ended or was given up; what comes after that is not kept. */
  result: Outcome | undefined = undefined;
  /** Where its value came from. */
  from: 'shared' | 'loader' = 'loader';

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

  /** What the value is known to reflect. */
  get mark(): Mark {
    return laterMark(this.reflected ?? noMark, this.atLeast);
  }

  /** Whether the loader said that it reflects less than was asked. */
  get isBehind(): boolean {
    return this.reflected !== undefined && this.reflected < this.atLeast;
  }

  /** When it has been under way for so long; also when it has ended. All who wait as long share one timer. */
  until(ms: number): Promise<void> {
    let wait = this.#waits.get(ms);
    if (wait === undefined) {
      const leftMs = this.startedMs + ms - this.#clock.monotonicMs();
      wait = leftMs > 0 ? this.#clock.sleep(leftMs, this.#ended.signal) : Promise.resolve();
      this.#waits.set(ms, wait);
    }
    return wait;
  }

  /** How it ended, if it does so in time and before the one who waits has gone. */
  async within(ms: number, gone: Promise<Outcome> | undefined): Promise<Outcome> {
    const waits = [this.outcome, this.until(ms).then(() => late)];
    const outcome = await Promise.race(gone === undefined ? waits : [...waits, gone]);
    // All that wait for time to pass are woken when it ends, perhaps a moment before the outcome is there.
    return outcome.kind === 'late' && this.result !== undefined ? this.result : outcome;
  }

  end(): void {
    this.#ended.abort();
  }
}
