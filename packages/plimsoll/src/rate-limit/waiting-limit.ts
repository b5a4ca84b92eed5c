import { plainAttempt, type Guard, type Work } from '../kernel/attempt.ts';
import { refusals } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { assertAlive, currentContext, endOf, remainingMs, type RequestContext } from '../kernel/context.ts';
import { contextWatch, createContextWatch, type ContextWatch } from '../kernel/context-watch.ts';
import { PlimsollError, throwIfProblems, type Problem } from '../kernel/errors.ts';
import { LinkedList, type Link } from '../kernel/linked-list.ts';
import { Limiter, rateLimitProblems, type RateLimitOptions } from './rate-limit.ts';
import type { Result } from './result.ts';

export interface WaitingLimitOptions extends RateLimitOptions {
  /** Most calls that wait at once. Default 1000. */
  readonly maxWaiting?: number;
  /** Longest wait of a call. Default 1000. */
  readonly maxWaitMs?: number;
}

export const waitingLimitDefaults = { maxWaiting: 1_000, maxWaitMs: 1_000 } as const;

export interface WaitingLimitState {
  readonly name: string;
  readonly waiting: number;
  readonly maxWaiting: number;
}

/** A rate that is kept toward a dependency: calls wait their turn, in the order they came. */
export interface WaitingLimit extends Guard {
  readonly name: string;
  /**
   * Resolves when it is this call's turn, whose points are then taken. PL_QUEUE_FULL when too many wait, or when the
   * turn will not come or has not come within `maxWaitMs`; PL_DEADLINE or PL_ABORTED when its context ends first.
   */
  acquire(cost?: number): Promise<void>;
  state(): WaitingLimitState;
}

interface Waiter {
  readonly cost: number;
  readonly grant: () => void;
}

const granted = Promise.resolve();
/** A timer set for longer than this fires at once. */
const longestTimerMs = 2 ** 31 - 1;

/** Calls to the outside at a rate that it allows; see {@link WaitingLimitOptions}. Throws PL_CONFIG. */
export function createWaitingLimit(options: WaitingLimitOptions): WaitingLimit {
  return new Waiting(options);
}

class Waiting implements WaitingLimit {
  readonly name: string;
  readonly #limit: Limiter<void>;
  readonly #maxWaiting: number;
  readonly #maxWaitMs: number;
  readonly #mostAtOnce: number;
  /** In which a point comes back at the soonest. */
  readonly #intervalMs: number;
  readonly #clock: Clock;
  readonly #watch: ContextWatch;
  readonly #scope: object;
  readonly #waiters = new LinkedList<Waiter>();
  #waiting = 0;
  // Points that all who wait ask for.
  #asked = 0;
  // When the first can have its turn; it may come later, as others take too.
  #turnAtMs = 0;
  // Whether turns are being given: by a timer, or by a question to the store.
  #turning = false;
  // Ends the wait for the next turn, when nobody waits for it any more.
  #stopTimer: (() => void) | undefined;
  // Points taken for one who has left meanwhile: for the next.
  #spare = 0;

  constructor(options: WaitingLimitOptions) {
    const { maxWaiting, maxWaitMs } = { ...waitingLimitDefaults, ...options };
    const problems: Problem[] = [...rateLimitProblems<void>(options)];
    for (const [path, value] of Object.entries({ maxWaiting, maxWaitMs }))
      if (!Number.isInteger(value) || value < 1 || value > 1_000_000)
        problems.push({ path, message: `is ${value}; want a whole number from 1 to 1000000` });
    throwIfProblems(`the waiting limit ${options.name}`, problems);
    const { clock = systemClock, scope = this } = options;
    this.name = options.name;
    this.#limit = new Limiter({ ...options, scope });
    this.#maxWaiting = maxWaiting;
    this.#maxWaitMs = maxWaitMs;
    const { rules } = this.#limit;
    this.#mostAtOnce = Math.min(...rules.map(({ capacity }) => capacity));
    this.#intervalMs = Math.min(...rules.map((rule) => (rule.kind === 'rate' ? rule.intervalMs : 0)));
    this.#clock = clock;
    this.#watch = clock === systemClock ? contextWatch : createContextWatch(clock);
    this.#scope = scope;
  }

  run<T>(work: Work<T>): Promise<T> {
    return this.acquire().then(() => work(plainAttempt));
  }

  acquire(cost = 1): Promise<void> {
    try {
      const context = currentContext();
      if (context !== undefined) assertAlive(context, `waiting for ${this.name}`, this.#clock);
      if (cost > this.#mostAtOnce)
        throw new PlimsollError(
          'PL_CONFIG',
          `a cost of ${cost} points never passes ${this.name}, which has ${this.#mostAtOnce} at once; ask for less, or raise it`,
        );
      // Whoever asks a store stands in line meanwhile, or the next one would overtake it.
      if (this.#waiting > 0 || this.#limit.shared) return this.#wait(cost, context);
      const result = this.#limit.decide(undefined, cost) as Result;
      if (result.allowed) return granted;
      this.#turnAtMs = this.#clock.monotonicMs() + result.retryAfterMs;
      return this.#wait(cost, context);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  state(): WaitingLimitState {
    return { name: this.name, waiting: this.#waiting, maxWaiting: this.#maxWaiting };
  }

  get #first(): Waiter | undefined {
    return this.#waiters.first?.item;
  }

  #wait(cost: number, context: RequestContext | undefined): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const leftMs = context === undefined ? Infinity : remainingMs(context, this.#clock);
    const mostMs = Math.min(this.#maxWaitMs, leftMs);
    const leastMs = this.#leastMs(cost, nowMs);
    if (this.#waiting >= this.#maxWaiting)
      throw this.#refusal(`${this.#waiting} wait, of ${this.#maxWaiting} that may`, leastMs);
    if (leastMs > mostMs)
      throw this.#refusal(
        `its turn comes in ${Math.ceil(leastMs)} ms at the soonest, and it may wait ${Math.floor(mostMs)} ms`,
        leastMs,
      );
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (): void => {
      this.#remove(link);
      unwatch?.();
      unbound();
    };
    const grant = (): void => {
      leave();
      resolve();
    };
    const link = this.#waiters.add({ cost, grant });
    this.#waiting += 1;
    this.#asked += cost;
    const unbound = this.#watch.watchDeadline(nowMs + this.#maxWaitMs, () => {
      leave();
      reject(this.#refusal(`its turn did not come within ${this.#maxWaitMs} ms`, this.#maxWaitMs));
    });
    const unwatch =
      context &&
      this.#watch.watch(context, () => {
        leave();
        const late = new PlimsollError('PL_DEADLINE', `waiting for ${this.name}: the deadline has passed`);
        reject(endOf(context, `waiting for ${this.name}`, this.#clock) ?? late);
      });
    if (!this.#turning) void this.#giveTurns();
    return promise;
  }

  /** No turn comes earlier: those before it are served first, and points come back one by one. */
  #leastMs(cost: number, nowMs: number): number {
    const before = this.#first === undefined ? 0 : this.#asked - this.#first.cost + cost;
    return Math.max(0, this.#turnAtMs - nowMs + before * this.#intervalMs);
  }

  #remove(link: Link<Waiter>): void {
    const wasFirst = this.#waiters.first === link;
    this.#waiters.remove(link);
    this.#waiting -= 1;
    this.#asked -= link.item.cost;
    if (!wasFirst) return;
    // The next one may cost less, so that its turn comes sooner; or there is none to wait for.
    this.#turnAtMs = 0;
    this.#stopTimer?.();
  }

  /** One of these runs while anybody waits. It does not reject: a store that fails is answered for. */
  async #giveTurns(): Promise<void> {
    this.#turning = true;
    while (this.#first !== undefined) {
      await this.#untilTurn();
      const { cost } = this.#first ?? { cost: 0 };
      if (cost > this.#spare) {
        const result = await this.#limit.decide(undefined, cost - this.#spare);
        if (!result.allowed) {
          this.#turnAtMs = this.#clock.monotonicMs() + result.retryAfterMs;
          continue;
        }
        this.#spare = cost;
      }
      // Another one, when the first has left meanwhile.
      const next = this.#first;
      if (next === undefined || next.cost > this.#spare) continue;
      this.#spare -= next.cost;
      next.grant();
    }
    this.#spare = 0;
    this.#turning = false;
  }

  async #untilTurn(): Promise<void> {
    const inMs = Math.ceil(this.#turnAtMs - this.#clock.monotonicMs());
    if (inMs <= 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(inMs, longestTimerMs));
      this.#stopTimer = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#stopTimer = undefined;
  }

  #refusal(reason: string, retryAfterMs: number): PlimsollError {
    if (refusals.hasSubscribers)
      refusals.publish({ scope: this.#scope, policy: 'rate-limit', name: this.name, reason });
    return new PlimsollError('PL_QUEUE_FULL', `${this.name} refused: ${reason}`, {
      data: { name: this.name, waiting: this.#waiting, retryAfterMs: Math.ceil(retryAfterMs) },
    });
  }
}
