import { plainAttempt, type Guard, type Work } from '../kernel/attempt.ts';
import { background, breakers, refusals, type BreakerState } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { coarseClock, tickMs } from '../kernel/coarse-clock.ts';
import { throwIfProblems, type PlimsollError } from '../kernel/errors.ts';
import { failureKind, type FailureKind } from '../kernel/failure-kind.ts';
import { CountWindow, TimeWindow, type CallWindow } from './call-window.ts';
import { breakerLimits, breakerProblems, type BreakerLimits, type BreakerOptions } from './options.ts';
import { HeldPermit, type Permit, type PermitOwner } from './permit.ts';
import { Ramp } from './ramp.ts';
import { breakerOpen } from './refusal.ts';

/** From this window on a tick is at most a tenth of a bucket. */
const coarseFromMs = tickMs * 100;

/** For people. */
export interface BreakerStatus {
  readonly name: string;
  readonly state: BreakerState;
  /** Why it is in this state. */
  readonly reason: string;
  /** By `trip`; only `reset` ends it. */
  readonly tripped: boolean;
  /** The part of the calls that is admitted: below 1 for a while after closing. */
  readonly admitted: number;
  /** When open: how long until the next call is let through. 0 also when that time has come and no call has. */
  readonly retryAfterMs: number;
  /** In the window, which is empty when the breaker closes. */
  readonly calls: number;
  readonly failures: number;
  readonly slow: number;
  /** Since the breaker was made. */
  readonly opened: number;
  readonly refused: number;
}

export interface Breaker extends Guard {
  readonly name: string;
  /** For callers that cannot wrap their call. Throws PL_BREAKER_OPEN when calls are refused. */
  acquire(): Permit;
  /** Opens until `reset`. */
  trip(reason: string): void;
  /** Closes at once, without a ramp, and forgets all that was counted. */
  reset(): void;
  state(): BreakerStatus;
}

/** Throws PL_CONFIG when an option is not valid, naming every problem. */
export function createBreaker(options: BreakerOptions): Breaker {
  return new BreakerMachine(options);
}

/** @internal {@link Breaker}, and what a policy needs of it. */
export class BreakerMachine implements Breaker, PermitOwner {
  readonly name: string;
  readonly #limits: BreakerLimits;
  readonly #window: CallWindow;
  readonly #ramp: Ramp;
  readonly #clock: Clock;
  /** For the window alone: its buckets are much longer than this may lag. */
  readonly #coarseMs: () => number;
  readonly #random: () => number;
  readonly #classify: (error: unknown) => FailureKind;
  readonly #scope: object;
  /** Whether it looks at how long calls took. */
  readonly findsSlow: boolean;

  #state: BreakerState = 'closed';
  #reason = 'new';
  /** The message of all refusals in this state. */
  #refusal = '';
  /** Goes up with every change of state. A call counts only in the epoch that it began in. */
  #epoch = 0;
  /** Of this epoch. */
  #underWay = 0;
  #tripped = false;
  #openUntilMs = 0;
  /** The failure that opened it. */
  #cause: unknown;
  /** In a row, without a whole ramp between them; each is longer. */
  #breaks = 0;
  /** Of the half-open state: under way or ended, not those that were dropped. */
  #probes = 0;
  #probesSucceeded = 0;
  #probesFailed = 0;
  #lastProbeAtMs = 0;
  #opened = 0;
  #refused = 0;

  constructor(options: BreakerOptions) {
    throwIfProblems(`the breaker ${JSON.stringify(options.name)}`, breakerProblems(options));
    const limits = breakerLimits(options);
    this.name = options.name;
    this.#limits = limits;
    this.#window =
      limits.windowCalls === undefined
        ? new TimeWindow(limits.windowMs)
        : new CountWindow(limits.windowCalls);
    this.#ramp = new Ramp(limits.rampMs);
    this.#clock = options.clock ?? systemClock;
    this.#coarseMs =
      limits.windowMs >= coarseFromMs ? coarseClock(this.#clock) : () => this.#clock.monotonicMs();
    this.#random = options.random ?? Math.random;
    this.#classify = options.classify ?? failureKind;
    this.#scope = options.scope ?? this;
    this.findsSlow = limits.slowCallMs !== Infinity;
  }

  run<T>(work: Work<T>): Promise<T> {
    const refusal = this.#refusalNow();
    // Not thrown: a throw costs half as much again.
    return refusal === undefined ? this.#make(work, this.#permit()) : Promise.reject(refusal);
  }

  acquire(): Permit {
    const refusal = this.#refusalNow();
    if (refusal !== undefined) throw refusal;
    return this.#permit();
  }

  async #make<T>(work: Work<T>, permit: Permit): Promise<T> {
    let value: T;
    try {
      value = await work(plainAttempt);
    } catch (error) {
      permit.fail(error);
      throw error;
    }
    permit.succeed();
    return value;
  }

  /** Whether every call may be made, without a look at the time. */
  get admitsAll(): boolean {
    return this.#state === 'closed' && !this.#ramp.mayBeOn;
  }

  /** As `acquire` where all are admitted: the epoch, to be given to `ended` or `dropped`, once. */
  enter(): number {
    this.#underWay += 1;
    return this.#epoch;
  }

  #permit(): Permit {
    return new HeldPermit(this, this.enter(), this.findsSlow ? this.#clock.monotonicMs() : 0);
  }

  /** Undefined when the call may be made. */
  #refusalNow(): PlimsollError | undefined {
    if (this.admitsAll) return undefined;
    return this.#refusalAt(this.#clock.monotonicMs());
  }

  trip(reason: string): void {
    if (this.#tripped) return;
    this.#tripped = true;
    this.#cause = undefined;
    this.#opened += 1;
    this.#become('open', `tripped by hand: ${reason}`);
  }

  reset(): void {
    this.#tripped = false;
    this.#breaks = 0;
    this.#ramp.end();
    this.#become('closed', 'reset by hand');
  }

  state(): BreakerStatus {
    const nowMs = this.#clock.monotonicMs();
    this.#window.forgetOld(nowMs);
    const { calls, failures, slow } = this.#window;
    const state = this.#state;
    return {
      name: this.name,
      state,
      reason: this.#reason,
      tripped: this.#tripped,
      admitted: state === 'closed' ? this.#ramp.share(nowMs) : 0,
      retryAfterMs: state === 'open' ? this.#retryAfterMs(nowMs) : 0,
      calls,
      failures,
      slow,
      opened: this.#opened,
      refused: this.#refused,
    };
  }

  counts(error: unknown): boolean {
    try {
      return this.#classify(error) === 'failure';
    } catch (thrown) {
      // The caller must get the error of the call, and the permit must come back.
      const what = `classify of the breaker ${JSON.stringify(this.name)}, which counts the call as failed`;
      if (background.hasSubscribers) background.publish({ scope: this.#scope, what, error: thrown });
      return true;
    }
  }

  dropped(epoch: number): void {
    if (epoch !== this.#epoch) return;
    this.#underWay -= 1;
    if (this.#state === 'half-open') this.#probes -= 1;
  }

  ended(epoch: number, error: unknown, failed: boolean, startedAtMs: number, durationMs?: number): void {
    if (epoch !== this.#epoch) return;
    this.#underWay -= 1;
    let nowMs = 0;
    let slow = false;
    if (this.findsSlow) {
      nowMs = this.#clock.monotonicMs();
      slow = (durationMs ?? nowMs - startedAtMs) >= this.#limits.slowCallMs;
    } else if (this.#window.needsTime) nowMs = this.#coarseMs();

    if (this.#state === 'half-open') {
      this.#probeEnded(error, failed, slow);
      return;
    }
    this.#window.record(failed, slow, nowMs);
    // A success is no reason to open, even if it is the call that makes them enough.
    if (!failed && !slow) return;
    const reason = this.#reasonToOpen();
    if (reason !== undefined) this.#open(reason, error);
  }

  #reasonToOpen(): string | undefined {
    const { minimumCalls, failureRatio, slowRatio, slowCallMs, consecutiveFailures } = this.#limits;
    const { calls, failures, slow, failuresInRow } = this.#window;
    if (failuresInRow >= consecutiveFailures) return `failures in a row: ${failuresInRow}`;
    if (calls < minimumCalls) return undefined;
    if (failures / calls >= failureRatio) return `failure ratio ${ratio(failures, calls)} of ${calls} calls`;
    if (this.findsSlow && slow / calls >= slowRatio)
      return `slow-call ratio ${ratio(slow, calls)} of ${calls} calls, from ${slowCallMs} ms on`;
    return undefined;
  }

  #probeEnded(error: unknown, failed: boolean, slow: boolean): void {
    const { probes, probeSuccesses, slowCallMs } = this.#limits;
    if (failed || slow) {
      this.#probesFailed += 1;
      if (probes - this.#probesFailed >= probeSuccesses) return;
      const what = failed ? 'failed' : `took ${slowCallMs} ms or longer`;
      this.#open(
        probes === 1 ? `the probe ${what}` : `${this.#probesFailed} of ${probes} probes failed`,
        error,
      );
      return;
    }
    this.#probesSucceeded += 1;
    if (this.#probesSucceeded < probeSuccesses) return;
    this.#ramp.begin(this.#clock.monotonicMs());
    this.#become(
      'closed',
      probes === 1 ? 'the probe succeeded' : `${probeSuccesses} of ${probes} probes succeeded`,
    );
  }

  #refusalAt(nowMs: number): PlimsollError | undefined {
    const { probes, probeMaxMs } = this.#limits;
    switch (this.#state) {
      case 'closed':
        if (!this.#ramp.mayBeOn || this.#ramp.admits(nowMs, this.#underWay)) return undefined;
        break;
      case 'open':
        if (this.#tripped || nowMs < this.#openUntilMs) break;
        this.#become('half-open', 'the break is over');
        // Again from the start: whoever listens may have tripped or reset it.
        return this.#refusalAt(nowMs);
      case 'half-open':
        if (this.#probes < probes) {
          this.#probes += 1;
          this.#lastProbeAtMs = nowMs;
          return undefined;
        }
        if (nowMs - this.#lastProbeAtMs >= probeMaxMs)
          this.#open(`a probe had not ended after ${probeMaxMs} ms`, undefined);
        break;
    }
    return this.#refuse(nowMs);
  }

  #open(reason: string, cause: unknown): void {
    const { breakMs, maxBreakMs } = this.#limits;
    const nowMs = this.#clock.monotonicMs();
    if (this.#state === 'closed' && this.#ramp.leftMs(nowMs) === 0) this.#breaks = 0;
    const fullMs = Math.min(maxBreakMs, breakMs * 2 ** Math.min(this.#breaks, 30));
    this.#breaks += 1;
    this.#openUntilMs = nowMs + fullMs * (0.5 + this.#random() / 2);
    this.#cause = cause;
    this.#opened += 1;
    this.#become('open', reason);
  }

  /** The one place where the state changes. */
  #become(to: BreakerState, reason: string): void {
    const from = this.#state;
    this.#state = to;
    this.#reason = reason;
    this.#epoch += 1;
    this.#underWay = 0;
    this.#probes = 0;
    this.#probesSucceeded = 0;
    this.#probesFailed = 0;
    if (to === 'closed') {
      this.#window.clear();
      this.#cause = undefined;
    }
    this.#refusal = this.#whyRefused();
    if ((from !== 'closed' || to !== 'closed') && breakers.hasSubscribers)
      breakers.publish({ scope: this.#scope, name: this.name, from, to, reason });
  }

  #refuse(nowMs: number): PlimsollError {
    this.#refused += 1;
    const { name } = this;
    if (refusals.hasSubscribers) {
      const reason = this.#tripped ? 'tripped' : this.#state === 'closed' ? 'ramp' : this.#state;
      refusals.publish({ scope: this.#scope, policy: 'breaker', name, reason });
    }
    const data = { name, retryAfterMs: this.#retryAfterMs(nowMs) };
    return breakerOpen(this.#refusal, { data, cause: this.#cause });
  }

  #whyRefused(): string {
    const breaker = `the breaker ${JSON.stringify(this.name)}`;
    const again = 'call again after data.retryAfterMs';
    if (this.#tripped) return `${breaker} is open, ${this.#reason}; reset() closes it`;
    if (this.#state === 'open') return `${breaker} is open: ${this.#reason}; ${again}`;
    if (this.#state === 'closed')
      return `${breaker} has just closed and admits a part of the calls; ${again}`;
    return `${breaker} is half-open, and as many calls as it lets through are under way; ${again}`;
  }

  /** Whole, and at least 1 where the time is not known to be over. */
  #retryAfterMs(nowMs: number): number {
    const { breakMs, maxBreakMs, probeMaxMs } = this.#limits;
    if (this.#tripped) return Math.ceil(maxBreakMs);
    if (this.#state === 'open') return Math.max(0, Math.ceil(this.#openUntilMs - nowMs));
    if (this.#state === 'closed') return Math.ceil(this.#ramp.leftMs(nowMs));
    // How long the probe will take nobody knows; a break is what comes after it at the soonest.
    return Math.max(1, Math.ceil(Math.min(breakMs, this.#lastProbeAtMs + probeMaxMs - nowMs)));
  }
}

function ratio(part: number, whole: number): string {
  return String(Math.round((part / whole) * 100) / 100);
}
