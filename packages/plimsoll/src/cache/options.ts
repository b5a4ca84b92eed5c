import { systemClock, type Clock } from '../kernel/clock.ts';
import type { Problem } from '../kernel/errors.ts';
import type { InvalidationBus } from './bus.ts';
import { jsonSerialiser, type Serialiser } from './serialiser.ts';
import type { SharedStore } from './shared-store.ts';
import type { InvalidationTruth } from './truth.ts';

export interface ProcessTierOptions {
  /** Default 10_000. */
  readonly maxEntries?: number;
  /** As estimated. Default 64 MiB. */
  readonly maxBytes?: number;
}

export interface CacheOptions {
  /** 1 to 40 letters, digits, `-` and `_`. Caches of one name share what is shared, and hear each other's invalidations. */
  readonly name: string;
  /** What this process keeps; `false` keeps nothing in it. */
  readonly process?: ProcessTierOptions | false;
  /** What the processes share. Default none. */
  readonly shared?: SharedStore;
  /** Tells the other processes what was invalidated. Default none. */
  readonly bus?: InvalidationBus;
  /**
   * Says what was invalidated by rows: then who has read past the cache is answered with nothing older by it. Default
   * none: then another process may not have heard of it yet.
   */
  readonly truth?: InvalidationTruth;
  /** With `several`, a process tier needs a bus. Default `one`. */
  readonly processes?: 'one' | 'several';
  /** Under which name causality tokens know the database that is cached. Default the only one that is in them. */
  readonly database?: string;
  /** How values become text for the shared tier. Default JSON. */
  readonly serialiser?: Serialiser;
  /** Of the form of the values: processes with another one do not read each other's. Default `1`. */
  readonly version?: string;
  /** How long a request waits for the shared tier. Default 50. */
  readonly sharedSoftMs?: number;
  /** When an operation of the shared tier has failed. Default 200. */
  readonly sharedHardMs?: number;
  /**
   * How long the right to load lasts when the process that has it dies; while it lives and loads, it keeps it. Default
   * 2_000.
   */
  readonly leaseMs?: number;
  /** Compares one of so many hits with what its loader says. 0: none. Default 0. */
  readonly sampleEvery?: number;
  /** Freezes what is kept, so that who changes it finds out. Default: unless NODE_ENV is `production`. */
  readonly freeze?: boolean;
  /** Whose telemetry this is. Default the cache itself. */
  readonly scope?: object;
  readonly clock?: Clock;
  /** From 0 to below 1. Default `Math.random`. */
  readonly random?: () => number;
}

export const cacheDefaults = {
  maxEntries: 10_000,
  maxBytes: 67_108_864,
  sharedSoftMs: 50,
  sharedHardMs: 200,
  leaseMs: 2_000,
  sampleEvery: 0,
} as const;

export type CacheSettings = Omit<
  Required<CacheOptions>,
  'process' | 'shared' | 'bus' | 'truth' | 'scope' | 'database'
> &
  Pick<CacheOptions, 'shared' | 'bus' | 'truth' | 'scope'> & {
    readonly database: string | undefined;
    readonly process: Required<ProcessTierOptions> | false;
  };

export function cacheSettings(options: CacheOptions): CacheSettings {
  const { maxEntries, maxBytes, ...defaults } = cacheDefaults;
  return {
    ...defaults,
    processes: 'one',
    database: undefined,
    serialiser: jsonSerialiser,
    version: '1',
    freeze: process.env['NODE_ENV'] !== 'production',
    clock: systemClock,
    random: Math.random,
    ...options,
    process: options.process === false ? false : { maxEntries, maxBytes, ...options.process },
  };
}

/** What the options ask for that cannot be, all at once. */
export function cacheProblems(settings: CacheSettings): readonly Problem[] {
  const { name, version, sharedSoftMs, sharedHardMs, leaseMs, sampleEvery } = settings;
  const problems: Problem[] = [];
  for (const [path, value] of Object.entries({ name, version }))
    if (!/^[\w-]{1,40}$/.test(value))
      problems.push({ path, message: `is ${JSON.stringify(value)}; give 1 to 40 letters, digits, - and _` });
  const positive = { sharedSoftMs, sharedHardMs, leaseMs, ...settings.process };
  for (const [path, value] of Object.entries(positive))
    if (!(value > 0)) problems.push({ path, message: `is ${value}; give a number above 0` });
  if (!Number.isInteger(sampleEvery) || sampleEvery < 0)
    problems.push({ path: 'sampleEvery', message: `is ${sampleEvery}; give a whole number from 0` });
  if (sharedSoftMs > sharedHardMs)
    problems.push({
      path: 'sharedSoftMs',
      message: `is ${sharedSoftMs}, above sharedHardMs, ${sharedHardMs}`,
    });
  if (settings.process !== false && settings.processes === 'several' && settings.bus === undefined) {
    const message =
      'is missing: with several processes and no bus, what one invalidates the others keep; give one, or `process: false`';
    problems.push({ path: 'bus', message });
  }
  const isAlone = settings.processes === 'one' || settings.bus !== undefined;
  if (settings.truth !== undefined && settings.process === false && !isAlone) {
    const message =
      'is missing: with several processes and `truth`, the bus tells of those whose rows are gone; give one, or no `truth`';
    problems.push({ path: 'bus', message });
  }
  return problems;
}
