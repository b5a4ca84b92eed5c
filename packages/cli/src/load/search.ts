/**
 * What to measure next, from what has been measured: a pure function of the history. No clock, no I/O.
 *
 * A rate is decided by attempts: one pass holds; two failures of the same kind (the server's or the
 * generator's) do not. First the expected peak, then up or down by `factor` until both a holding and a
 * failing rate are known, then halving the gap on the logarithmic scale, then one confirmation of the
 * best holding rate. A failed confirmation goes back between the rates and confirms again. No step begins
 * that the budget cannot hold, and until a rate is confirmed the time for that is kept back.
 */
export interface SearchConfig {
  readonly expectedPeakRps: number;
  readonly maxRps: number;
  readonly budgetMs: number;
  /** Usual measured length of a step. */
  readonly stepMs: number;
  /** Of a step at a low rate, which needs longer for its samples. */
  readonly longestStepMs: number;
  /** Unmeasured beginning of every step. */
  readonly leadInMs: number;
  /** Kept free for the drain after a failing step. */
  readonly drainReserveMs: number;
  readonly minSamples: number;
}

export interface Attempt {
  readonly rateRps: number;
  /** `generator`: failed, and the generator could not keep its own schedule. */
  readonly result: 'pass' | 'fail' | 'generator';
  readonly purpose: Purpose;
}

export type Purpose = 'peak' | 'up' | 'down' | 'bisect' | 'repeat' | 'confirm';

export type Outcome =
  | 'found'
  | 'at-least'
  | 'below-peak'
  | 'inconclusive-generator'
  | 'inconclusive-noisy'
  | 'aborted';

export interface Conclusion {
  readonly outcome: Outcome;
  /** 0 when no rate held. */
  readonly heldRps: number;
  readonly confirmed: boolean;
  /** Lowest rate that failed twice, or failed a confirmation. */
  readonly upperRps: number | undefined;
}

export type SearchAction =
  | {
      readonly kind: 'step';
      readonly purpose: Purpose;
      readonly rateRps: number;
      readonly measuredMs: number;
    }
  | ({ readonly kind: 'stop' } & Conclusion);

export const searchDefaults = {
  factor: 2,
  precision: 1.08,
  stepDown: 0.93,
  longestConfirmSteps: 2,
} as const;

/** Rates below this cannot collect enough samples in the longest step. */
export function lowestRate(config: SearchConfig): number {
  return (config.minSamples * 1000) / config.longestStepMs;
}

/** A peak too low for enough samples is asked at a higher rate: what holds there holds the peak. */
export function firstRate(config: SearchConfig): number {
  const quickest = (config.minSamples * 1000) / config.stepMs;
  return Math.min(config.maxRps, Math.max(config.expectedPeakRps, quickest));
}

export function nextAction(
  config: SearchConfig,
  history: readonly Attempt[],
  elapsedMs: number,
): SearchAction {
  const remainingMs = config.budgetMs - elapsedMs;
  const { lower, upper } = bracket(history);
  const last = history.at(-1);
  const stop = (): SearchAction => ({ kind: 'stop', ...conclude(config, history) });
  const step = (purpose: Purpose, rateRps: number): SearchAction => ({
    kind: 'step',
    purpose,
    rateRps,
    measuredMs: measuredMs(config, rateRps),
  });
  const confirm = (rateRps: number): SearchAction => {
    const usualMs = measuredMs(config, rateRps);
    const roomMs = remainingMs - config.leadInMs;
    if (roomMs < usualMs) return stop();
    // Longer is better evidence, but first comes room for a second confirmation one step down.
    const spareMs = roomMs - (config.drainReserveMs + totalMs(config, rateRps));
    const longestMs = searchDefaults.longestConfirmSteps * usualMs;
    return {
      kind: 'step',
      purpose: 'confirm',
      rateRps,
      measuredMs: Math.max(usualMs, Math.min(longestMs, spareMs)),
    };
  };
  // An exploring step must leave room for its drain and for the confirmation of what is known to hold.
  const roomToExplore = (rateRps: number): boolean =>
    remainingMs >= totalMs(config, rateRps) + config.drainReserveMs + totalMs(config, lower ?? rateRps);
  const explore = (purpose: Purpose, rateRps: number): SearchAction => {
    if (roomToExplore(rateRps)) return step(purpose, rateRps);
    return lower === undefined ? stop() : confirm(lower);
  };

  // Between what holds and what did not; with time for one more step only, what holds.
  const rateAfterFailedConfirmation = (failedRps: number): number => {
    const below = roundRate(failedRps * searchDefaults.stepDown);
    if (lower === undefined) return below;
    const roomForTwo = remainingMs >= 2 * totalMs(config, failedRps) + config.drainReserveMs;
    return roomForTwo ? Math.max(lower, Math.min(below, roundRate(Math.sqrt(lower * failedRps)))) : lower;
  };

  if (last === undefined) return step('peak', firstRate(config));
  if (last.purpose === 'confirm') {
    if (last.result === 'pass') return stop();
    if (last.result === 'generator') {
      return rulingAt(history, last.rateRps) === 'generator' ? stop() : confirm(last.rateRps);
    }
    const down = rateAfterFailedConfirmation(last.rateRps);
    return down < lowestRate(config) || down >= last.rateRps ? stop() : confirm(down);
  }
  if (rulingAt(history, last.rateRps) === 'open') return explore('repeat', last.rateRps);
  if (upper === undefined) {
    if (lower === undefined) return stop();
    if (lower >= config.maxRps) return confirm(lower);
    return explore('up', Math.min(config.maxRps, roundRate(lower * searchDefaults.factor)));
  }
  const peak = config.expectedPeakRps;
  const peakIsOpen = peak < upper && peak > (lower ?? 0) && peak >= lowestRate(config);
  if (lower === undefined) {
    const down = roundRate(upper / searchDefaults.factor);
    if (peakIsOpen && down <= peak) return explore('down', peak);
    return down < lowestRate(config) || down >= upper ? stop() : explore('down', down);
  }
  if (upper / lower <= searchDefaults.precision) return confirm(lower);
  const middle = roundRate(Math.sqrt(lower * upper));
  return explore('bisect', peakIsOpen ? peak : middle);
}

/** Reads the history to its end; also right when a run was cut short. */
export function conclude(config: SearchConfig, history: readonly Attempt[]): Conclusion {
  const { lower, upper } = bracket(history);
  const last = history.at(-1);
  const confirmed = last?.purpose === 'confirm' && last.result === 'pass';
  const heldRps = lower ?? 0;
  const conclusion = (outcome: Outcome): Conclusion => ({ outcome, heldRps, confirmed, upperRps: upper });
  const confirmFailed = !confirmed && history.some((attempt) => attempt.purpose === 'confirm');
  if (upper !== undefined && rulingAt(history, upper) === 'generator')
    return conclusion('inconclusive-generator');
  if (last?.result === 'generator') return conclusion('inconclusive-generator');
  if ((confirmed && heldRps < config.expectedPeakRps) || peakFailed(config, history))
    return conclusion('below-peak');
  if (confirmFailed || lower === undefined) return conclusion('inconclusive-noisy');
  return conclusion(upper === undefined ? 'at-least' : 'found');
}

/** Twice, at the peak or below it. */
function peakFailed(config: SearchConfig, history: readonly Attempt[]): boolean {
  return history.some(
    ({ rateRps }) =>
      rateRps <= config.expectedPeakRps &&
      history.filter((other) => other.rateRps === rateRps && other.result === 'fail').length >= 2,
  );
}

type Ruling = 'holds' | 'fails' | 'generator' | 'open';

/** The state of one rate. The last confirmation has the last word; before it, one pass or two equal failures. */
function rulingAt(history: readonly Attempt[], rateRps: number): Ruling {
  const attempts = history.filter((attempt) => attempt.rateRps === rateRps);
  const count = (result: Attempt['result']): number =>
    attempts.filter((attempt) => attempt.result === result).length;
  const confirmations = attempts.filter((attempt) => attempt.purpose === 'confirm');
  if (confirmations.at(-1)?.result === 'pass') return 'holds';
  if (confirmations.some((attempt) => attempt.result === 'fail')) return 'fails';
  if (count('generator') >= 2) return 'generator';
  if (count('pass') > 0) return 'holds';
  return count('fail') >= 2 ? 'fails' : 'open';
}

interface Bracket {
  /** Highest holding rate below `upper`. */
  readonly lower: number | undefined;
  readonly upper: number | undefined;
}

function bracket(history: readonly Attempt[]): Bracket {
  const rates = [...new Set(history.map((attempt) => attempt.rateRps))].toSorted((a, b) => a - b);
  const upper = rates.find((rate) => ['fails', 'generator'].includes(rulingAt(history, rate)));
  const lower = rates.findLast((rate) => rate < (upper ?? Infinity) && rulingAt(history, rate) === 'holds');
  return { lower, upper };
}

function measuredMs(config: SearchConfig, rateRps: number): number {
  const forSamples = (config.minSamples * 1000) / rateRps;
  return Math.min(config.longestStepMs, Math.max(config.stepMs, forSamples));
}

function totalMs(config: SearchConfig, rateRps: number): number {
  return config.leadInMs + measuredMs(config, rateRps);
}

/** Rates a person can read; three digits are finer than the precision of the search. */
function roundRate(rateRps: number): number {
  return rateRps >= 100 ? Math.round(rateRps) : Number(rateRps.toPrecision(3));
}
