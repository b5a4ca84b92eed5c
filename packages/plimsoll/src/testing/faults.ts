import { createHash, randomInt } from 'node:crypto';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';

/**
 * How likely each kind of fault is where it can happen, 0 to 1, unless `rates` says otherwise.
 *
 * - `connection-lost`: the server ends the connection before a statement of the handler.
 * - `serialization-failure`: the server fails a statement of the handler, and with it the transaction.
 * - `crash-before-commit`: the server ends the connection when the handler is done, and nothing commits.
 * - `taken-over`: a job or a delivery is given to another worker when its handler is done; nothing commits,
 *   and the other worker runs it again.
 * - `call-refused`: a call to another operation fails before anything of it was done.
 * - `call-answer-lost`: a call to a command is done, and its caller is told PL_COMMIT_UNKNOWN.
 * - `external-answer-lost`: the outside has had the effect of `external`, and the effect fails.
 * - `delayed`: a delivery waits up to 30 ms before its handler, so that others overtake it.
 * - `outside-answer-lost`: the same as `call-answer-lost` for the calls of the test itself. Off by default: the
 *   test has to try again by an id of its own.
 */
const rates = {
  'connection-lost': 0.1,
  'serialization-failure': 0.1,
  'crash-before-commit': 0.15,
  'taken-over': 0.15,
  'call-refused': 0.1,
  'call-answer-lost': 0.15,
  'external-answer-lost': 0.15,
  delayed: 0.3,
  'outside-answer-lost': 0,
} as const;

export type FaultKind = keyof typeof rates;

export const faultDefaults = { rates, maxFaults: 10, runs: 1 } as const;

/** A piece of work meets at most so many, or its attempts would run out. */
const maxPerWork = 3;

export interface FaultOptions {
  /** The same seed gives the n-th run of an operation the same faults. Default: a random one. */
  readonly seed?: number;
  /** These kinds and no others. Default `faultDefaults.rates`. */
  readonly rates?: Readonly<Partial<Record<FaultKind, number>>>;
  /** At most so many for each operation; `delayed` does not count. Default 10. */
  readonly maxFaults?: number;
}

/** One fault that happened. */
export interface Fault {
  readonly kind: FaultKind;
  /** The operation or subscription whose handler met it. */
  readonly operation: string;
  /** Which run of that handler, from 1. */
  readonly run: number;
  /** `before statement 2`, `call 1, inventory.reserve` */
  readonly at: string;
}

/** What a run of a handler asks at each place where something can go wrong. */
export interface FaultyRun {
  /** Whether it happens here; then it is in `happened`. `place` tells places of one kind in one run apart. */
  hits(kind: FaultKind, place: number, at: string): boolean;
  /** 0 to 1, always the same for this run and place. */
  chance(what: string, place: number): number;
}

/** A piece of work that may be tried again: its key is stable, and its calls have longer ones. */
export interface Work {
  readonly key: string;
  readonly correlationId: string;
  /** Tries left after this one; a fault on the last one would end the work for good. */
  readonly triesLeft?: number;
}

/** What goes wrong, and what went wrong. */
export interface Faults {
  readonly seed: number;
  /** In the order in which they happened. */
  readonly happened: readonly Fault[];
  /** @internal A run of a handler begins. */
  begin(operation: string, work: Work): FaultyRun;
  /** @internal How many faults the work of this correlation id has met. */
  met(correlationId: string): number;
}

/**
 * Runs a test body with faults: give `faults` to `testModule` in it. What it throws is thrown on with the seed
 * and the faults that had happened in the message. With `runs` the body runs that often, each time with the
 * next seed, and ends with the first failure. PL_CONFIG for an option that is not valid.
 */
export async function underFaults(
  options: FaultOptions & {
    /** Default 1. */
    readonly runs?: number;
  },
  body: (faults: Faults) => Promise<void>,
): Promise<void> {
  const { runs = faultDefaults.runs, seed: first = randomInt(2 ** 31), ...rest } = options;
  throwIfProblems('underFaults', problemsOf({ ...options, seed: first }, runs));
  for (let seed = first; seed < first + runs; seed += 1) {
    const faults = createFaults({ ...rest, seed });
    try {
      await body(faults);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${reason}\n\nunder faults; to repeat: { seed: ${seed} }${list(faults.happened)}`, {
        cause: error,
      });
    }
  }
}

function list(happened: readonly Fault[]): string {
  if (happened.length === 0) return '; none had happened';
  const lines = happened.map(({ kind, operation, run, at }) => `  ${kind}: ${operation}, run ${run}, ${at}`);
  return `; what had happened:\n${lines.join('\n')}`;
}

/** @internal Decisions are a function of seed, operation, run and place: what runs beside it changes nothing. */
export function createFaults(options: FaultOptions & { readonly seed: number }): Faults {
  const { seed, maxFaults = faultDefaults.maxFaults } = options;
  const chosen: FaultOptions['rates'] = options.rates ?? faultDefaults.rates;
  const happened: Fault[] = [];
  const runs = new Map<string, number>();
  const byOperation = new Map<string, number>();
  const byCorrelation = new Map<string, number>();
  /** By the key of the outermost work. */
  const left = new Map<string, number>();

  return {
    seed,
    happened,
    met: (correlationId) => byCorrelation.get(correlationId) ?? 0,
    begin(operation, { key, correlationId, triesLeft = maxPerWork }) {
      const run = increment(runs, operation);
      const work = key.split('/', 1)[0] ?? key;
      left.set(work, Math.min(left.get(work) ?? maxPerWork, triesLeft));
      // One is enough for a run: what comes after it would only hide it.
      let met = false;
      const chance = (what: string, place: number): number =>
        unitOf(`${seed} ${operation} ${run} ${what} ${place}`);

      return {
        chance,
        hits(kind, place, at) {
          if (chance(kind, place) >= (chosen[kind] ?? 0)) return false;
          if (kind !== 'delayed') {
            const mayFail = (left.get(work) ?? 0) > 0 && (byOperation.get(operation) ?? 0) < maxFaults;
            if (met || !mayFail) return false;
            met = true;
            left.set(work, (left.get(work) ?? 0) - 1);
            increment(byOperation, operation);
            increment(byCorrelation, correlationId);
          }
          happened.push({ kind, operation, run, at });
          return true;
        },
      };
    },
  };
}

function increment(counts: Map<string, number>, key: string): number {
  const count = (counts.get(key) ?? 0) + 1;
  counts.set(key, count);
  return count;
}

/** A number in [0, 1) that depends on the text only. */
const unitOf = (text: string): number => createHash('sha256').update(text).digest().readUInt32BE(0) / 2 ** 32;

function problemsOf({ seed, rates: given = {}, maxFaults = 0 }: FaultOptions, runs: number): Problem[] {
  const problems: Problem[] = [];
  const whole = (path: string, value: unknown, atLeast: number): void => {
    if (!Number.isSafeInteger(value) || (value as number) < atLeast)
      problems.push({ path, message: `is ${String(value)}; want a whole number from ${atLeast}` });
  };
  whole('seed', seed, 0);
  whole('maxFaults', maxFaults, 0);
  whole('runs', runs, 1);
  for (const [kind, rate] of Object.entries(given)) {
    if (!Object.hasOwn(rates, kind))
      problems.push({
        path: `rates.${kind}`,
        message: `is no fault; there are ${Object.keys(rates).join(', ')}`,
      });
    else if (!(rate >= 0 && rate <= 1))
      problems.push({ path: `rates.${kind}`, message: `is ${rate}; want a number from 0 to 1` });
  }
  return problems;
}
