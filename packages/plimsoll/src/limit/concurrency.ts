import { Lateness } from './lateness.ts';
import type { LimitSettings } from './options.ts';

/** What the limit was last changed for. */
export type LimitReason = 'initial' | 'room' | 'queueing' | 'trial' | 'late' | 'drops' | 'unused';

/** A trial leaves this share of the concurrency there is. */
const trialShare = 0.6;
/** Calls that end in a trial, at least; more where their durations vary. */
const trialCalls = 30;
/** A trial has shown a queue when round trips fell by this share of how far the concurrency fell, as logarithms. */
const queueShare = 0.85;
/** Below this share of what the last trial ended with, only another trial takes the limit. */
const trustedShare = 0.75;
/** When surely more than this share was dropped, and not by chance in few calls, the other side counts as gone. */
const goneShare = 0.5;
/** From this share of drops in a window on, the limit does not grow. */
const dropShare = 0.3;
/** The limit is what holds calls back when it refused this share of them, and this share of it was used. */
const refusedShare = 0.05;
const holdingUse = 0.6;
/** The limit grows only while at least this share of it is used: more, where nothing is refused. */
const refusingUse = 0.5;
const fullUse = 0.75;
/** In square roots of the calls under way: a shorter queue lets the limit grow, a longer one is taken away. */
const shortQueue = 0.8;
const longQueue = 1.8;
/** After so long without a call, what was measured is of the past. */
const idleMs = 10_000;
/** How soon a new baseline is measured again; doubles from here while it is confirmed. */
const firstRenewMs = 1_000;
/** A call that took more than so many mean round trips counts as so many, where the variation is measured. */
const strayFactor = 8;
/** A trial that made round trips no shorter than by this share has shown that there is room. */
const roomShare = 0.25;
const roomFactor = 1.25;
/** More throughput than this with less concurrency is not the trial's doing: the other side has changed. */
const changedFactor = 1.25;
/** While they are late, the limit falls by this, so many times at most before it is asked whether that helped. */
const lateFactor = 0.7;
const mostSteps = 5;
/** It did when round trips fell by this share of how far the concurrency fell, as logarithms. */
const helpedShare = 0.3;
/** Before it counts that it did not, the others who share the server have so long to let less through. */
const patienceMs = 5_000;
/** A baseline within this share of the one before confirms it. */
const confirmingShare = 0.25;
/** After trials, a pause of so many times what they took: they let less through. */
const pauseFactor = 10;
const unconfirmedPauseFactor = 2;
/** Largest variation believed: a window must end some day. */
const maxVariation = 4;

/** What was measured in a window. */
interface Level {
  /** Mean calls under way. */
  readonly inFlight: number;
  /** Mean round trip. */
  readonly rttMs: number;
}

/** A lower limit is being tried: does less concurrency make the calls faster? */
interface Trial {
  /** What it is compared with: the last one that paid, or the first window's. */
  readonly before: Level;
  /** Before the first of the trials that follow each other. */
  readonly top: Level;
  readonly topLimit: number;
  readonly beganMs: number;
}

/** Less is being let through because answers are late. */
interface Easing {
  /** Before the first step. */
  readonly top: Level;
  readonly topLimit: number;
  readonly steps: number;
}

/**
 * How many calls at once are worth having.
 *
 * All is told by Little's law: calls under way = throughput x mean round trip. So the mean round trip of a window is
 * its calls under way over its throughput, which no stray call and no cut at the window's end can falsify; and of the
 * calls under way, `baseline / round trip` are being worked on, while the others wait. A short queue keeps the other
 * side busy and is left; a longer one is taken away.
 *
 * The baseline, the round trip without a queue, is never taken from the load that is judged by it, or both would
 * drift up together: it is what a trial with less concurrency measured. A trial that makes nothing faster is undone,
 * so what has merely become slower keeps its concurrency.
 */
export class Concurrency {
  readonly #settings: LimitSettings;
  readonly #lateness: Lateness;
  #limit: number;
  #reason: LimitReason = 'initial';
  #inFlight = 0;
  // Of the window or the trial under way: sums, and when it began.
  #answers = 0;
  #drops = 0;
  #refusals = 0;
  #tookMs = 0;
  #tookSquares = 0;
  #inFlightMs = 0;
  #windowAtMs = -Infinity;
  /** Until then calls of the limit before are still ending. */
  #settledAtMs = -Infinity;
  #lastMs = -Infinity;
  /** The last windows, smoothed. Undefined before the first. */
  #recent: Level | undefined;
  /** Measured at the lowest concurrency of late. Undefined before the first window. */
  #baseline: Level | undefined;
  /** Square of the coefficient of variation of round trips, smoothed: how many calls a mean needs. */
  #variation = 1;
  /** Windows in which the variation may still fall as quickly: its first value is a guess. */
  #guessingWindows = 4;
  #trial: Trial | undefined;
  #easing: Easing | undefined;
  /** What the last trial ended with. */
  #trustedLimit = 0;
  #renewAtMs = 0;
  #renewInMs = firstRenewMs;

  constructor(settings: LimitSettings) {
    this.#settings = settings;
    this.#lateness = new Lateness(settings);
    this.#limit = settings.initialLimit;
  }

  get limit(): number {
    return Math.floor(this.#limit);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get reason(): LimitReason {
    return this.#reason;
  }

  get recentRttMs(): number | undefined {
    return this.#recent?.rttMs;
  }

  get baselineRttMs(): number | undefined {
    return this.#baseline?.rttMs;
  }

  begin(nowMs: number): void {
    if (nowMs - this.#lastMs > idleMs && this.#inFlight === 0) this.#beginAnew(nowMs);
    this.#pass(nowMs);
    this.#inFlight += 1;
  }

  refuse(): void {
    this.#refusals += 1;
  }

  /** A call that began at `startedMs` has been answered, or dropped. */
  end(nowMs: number, startedMs: number, dropped: boolean): void {
    this.#pass(nowMs);
    this.#inFlight -= 1;
    if (nowMs < this.#settledAtMs || this.#inFlight > this.#limit) {
      this.#beginWindow(nowMs);
      return;
    }
    if (dropped) this.#drops += 1;
    else this.#answers += 1;
    const tookMs = Math.min(nowMs - startedMs, strayFactor * (this.#recent?.rttMs ?? Infinity));
    this.#tookMs += tookMs;
    this.#tookSquares += tookMs * tookMs;
    this.#endWindow(nowMs);
  }

  /** A call has ended of which nothing can be told: as if it had never been. */
  forget(nowMs: number, startedMs: number): void {
    this.#pass(nowMs);
    this.#inFlight -= 1;
    this.#inFlightMs -= nowMs - Math.max(startedMs, this.#windowAtMs);
  }

  #pass(nowMs: number): void {
    this.#inFlightMs += this.#inFlight * (nowMs - Math.max(this.#lastMs, this.#windowAtMs));
    this.#lastMs = nowMs;
  }

  #beginWindow(nowMs: number): void {
    this.#answers = 0;
    this.#drops = 0;
    this.#refusals = 0;
    this.#tookMs = 0;
    this.#tookSquares = 0;
    this.#inFlightMs = 0;
    this.#windowAtMs = nowMs;
  }

  #endWindow(nowMs: number): void {
    const ended = this.#answers + this.#drops;
    const lastedMs = nowMs - this.#windowAtMs;
    const { windowCalls, windowMs } = this.#settings;
    if (ended < windowCalls || lastedMs < windowMs) return;
    const drops = this.#drops / ended;
    if (drops - 1 / Math.sqrt(ended) >= goneShare) {
      this.#retreat(nowMs);
    } else {
      const level = { inFlight: this.#inFlightMs / lastedMs, rttMs: this.#inFlightMs / this.#answers };
      if (ended < this.#callsNeeded(level.inFlight) || lastedMs < level.rttMs) return;
      this.#measureVariation();
      const refused = this.#refusals / (this.#refusals + ended);
      if (this.#trial === undefined) this.#adjust(nowMs, level, refused, drops);
      else this.#judge(nowMs, level, this.#trial);
    }
    this.#beginWindow(nowMs);
  }

  /** So many that chance moves a mean by less than what it decides. */
  #callsNeeded(inFlight: number): number {
    return this.#trial === undefined
      ? this.#variation * Math.max(30, inFlight)
      : Math.max(trialCalls, this.#variation * Math.max(100, 3 * inFlight));
  }

  /** Up quickly and, but for the first windows, down slowly: a long queue makes round trips alike, and hides how work varies. */
  #measureVariation(): void {
    const ended = this.#answers + this.#drops;
    const meanMs = this.#tookMs / ended;
    if (meanMs === 0) return;
    const seen = Math.min(maxVariation, this.#tookSquares / ended / (meanMs * meanMs) - 1);
    this.#variation +=
      (seen - this.#variation) * (seen > this.#variation || this.#guessingWindows > 0 ? 0.5 : 0.03);
    this.#guessingWindows = Math.max(0, this.#guessingWindows - 1);
  }

  #beginAnew(nowMs: number): void {
    this.#beginWindow(nowMs);
    this.#recent = undefined;
    this.#baseline = undefined;
    if (this.#trial !== undefined) this.#change(this.#trial.topLimit, 'trial');
    this.#trial = undefined;
    this.#easing = undefined;
    this.#lateness.forget();
    this.#renewSoon(nowMs);
  }

  #change(limit: number, reason: LimitReason): void {
    const { minLimit, maxLimit } = this.#settings;
    this.#limit = Math.min(maxLimit, Math.max(minLimit, limit));
    this.#reason = reason;
  }

  /** Calls that time out alike look as steady as calls that are well: round trips tell nothing here. */
  #retreat(nowMs: number): void {
    this.#trial = undefined;
    this.#change(this.#limit / 2, 'drops');
    this.#renewSoon(nowMs);
  }

  #adjust(nowMs: number, level: Level, refused: number, drops: number): void {
    const { recent, baseline } = this.#follow(nowMs, level);
    const { inFlight } = recent;
    if (this.#ease(nowMs, level)) return;
    const working = inFlight * Math.min(1, baseline.rttMs / recent.rttMs);
    const queue = inFlight - working;
    const root = Math.sqrt(inFlight);
    const holding = refused >= refusedShare && inFlight >= holdingUse * this.#limit;
    if (
      holding &&
      (nowMs >= this.#renewAtMs || working + longQueue * root < trustedShare * this.#trustedLimit)
    ) {
      this.#try(nowMs, recent, trialShare * inFlight);
    } else if (holding && queue > longQueue * root) {
      this.#change(working + ((shortQueue + longQueue) / 2) * root, 'queueing');
    } else if (level.inFlight >= (refused > 0 ? refusingUse : fullUse) * this.#limit) {
      if (queue < shortQueue * root && drops < dropShare && recent.rttMs < this.#lateness.easyMs(nowMs))
        this.#change(this.#limit + Math.max(1, Math.sqrt(this.#limit)), 'room');
    } else if (level.inFlight < this.#limit / 4) {
      // Far above what is used, the limit would let a long queue grow before anything is felt.
      this.#change(Math.max(this.#settings.initialLimit, this.#limit * 0.98), 'unused');
    }
  }

  /**
   * Whether answers are late. Then less is let through, in a few steps, and it stays at what makes them quicker: all who
   * share a server see at the same time that it is late, so together they make a difference that none could alone.
   * Where it makes none, the server has become slower: the limit is as before, and the slowness borne for a while.
   */
  #ease(nowMs: number, level: Level): boolean {
    const { minLimit } = this.#settings;
    const { top = level, topLimit = this.#limit, steps = 0 } = this.#easing ?? {};
    this.#easing = undefined;
    const lateForMs = this.#lateness.note(nowMs, level.rttMs);
    if (lateForMs === undefined) return steps > 0;
    // Far below the limit it is not the limit that lets too much through.
    if (steps === 0 && this.#limit > minLimit && level.inFlight < holdingUse * this.#limit) return false;
    if (steps < mostSteps && this.#limit > minLimit) {
      this.#easing = { top, topLimit, steps: steps + 1 };
      this.#change(lateFactor * Math.min(this.#limit, 1.2 * level.inFlight), 'late');
      this.#settle(nowMs, level);
      return true;
    }
    const less = Math.log(top.inFlight / level.inFlight);
    const faster = Math.log(top.rttMs / level.rttMs);
    if (steps > 0 && faster >= helpedShare * less) return true;
    if (lateForMs < patienceMs) {
      // With nothing left to give, it is for others to let less through.
      if (steps > 0) this.#easing = { top, topLimit, steps };
      return true;
    }
    this.#lateness.bear(nowMs, level.rttMs);
    this.#change(topLimit, 'late');
    return true;
  }

  /** Takes a window into what is recent, and into the baseline as far as it may. */
  #follow(nowMs: number, level: Level): { recent: Level; baseline: Level } {
    const last = this.#recent;
    const recent = last === undefined || level.rttMs > 2 * last.rttMs ? level : between(last, level, 0.5);
    this.#recent = recent;
    let baseline = this.#baseline;
    if (baseline === undefined || level.rttMs < baseline.rttMs / 2) {
      // The first, or the other side has become much faster.
      baseline = level;
      this.#renewSoon(nowMs);
    } else if (level.inFlight <= baseline.inFlight) {
      baseline = { rttMs: between(baseline, level, 0.2).rttMs, inFlight: baseline.inFlight };
    }
    this.#baseline = baseline;
    return { recent, baseline };
  }

  #try(nowMs: number, before: Level, limit: number): void {
    const { top = before, topLimit = this.#limit, beganMs = nowMs } = this.#trial ?? {};
    this.#trial = { before, top, topLimit, beganMs };
    this.#change(limit, 'trial');
    this.#settle(nowMs, before);
  }

  #judge(nowMs: number, level: Level, trial: Trial): void {
    const { before, top } = trial;
    const changed = level.inFlight / level.rttMs > changedFactor * (top.inFlight / top.rttMs);
    const less = Math.log(before.inFlight / level.inFlight);
    const faster = Math.log(before.rttMs / level.rttMs);
    if (!changed && less > 0.1 && faster >= queueShare * less && this.#limit > this.#settings.minLimit) {
      // Nothing was lost but a queue, so there may be one still.
      this.#try(nowMs, level, trialShare * level.inFlight);
      return;
    }
    const known = this.#baseline;
    // No queue at all: a baseline that was measured too low had held the limit down.
    const roomy =
      before === top && less > 0.1 && faster < roomShare * less && top.rttMs < this.#lateness.easyMs(nowMs);
    const confirmed =
      !roomy && known !== undefined && Math.abs(known.rttMs / level.rttMs - 1) < confirmingShare;
    const baseline = confirmed ? between(known, level, 0.5) : level;
    this.#baseline = baseline;
    this.#renewInMs = confirmed ? Math.min(2 * this.#renewInMs, this.#settings.renewMs) : firstRenewMs;
    const tookMs = nowMs - trial.beganMs;
    const pauseMs = Math.max(this.#renewInMs, (confirmed ? pauseFactor : unconfirmedPauseFactor) * tookMs);
    this.#renewAtMs = nowMs + pauseMs * (0.8 + 0.4 * this.#settings.random());
    // What was being worked on before the trial, by the new baseline, and a queue.
    const working = top.inFlight * Math.min(1, baseline.rttMs / top.rttMs);
    const enough = changed ? Infinity : working + longQueue * Math.sqrt(working);
    this.#trial = undefined;
    this.#change(
      roomy
        ? Math.max(trial.topLimit + Math.sqrt(trial.topLimit), roomFactor * top.inFlight)
        : Math.min(trial.topLimit, enough),
      'trial',
    );
    this.#trustedLimit = this.#limit;
    this.#recent = undefined;
    this.#settle(nowMs, level);
  }

  /** Calls that vary need longer until those under way are as they will be. */
  #settle(nowMs: number, { rttMs }: Level): void {
    this.#settledAtMs = nowMs + rttMs * (1 + this.#variation);
  }

  #renewSoon(nowMs: number): void {
    this.#renewInMs = firstRenewMs;
    this.#renewAtMs = nowMs + firstRenewMs;
  }
}

function between(old: Level, fresh: Level, share: number): Level {
  return {
    rttMs: old.rttMs + (fresh.rttMs - old.rttMs) * share,
    inFlight: old.inFlight + (fresh.inFlight - old.inFlight) * share,
  };
}
