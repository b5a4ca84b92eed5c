import type { RateLimitStore, RateLimitRule } from 'plimsoll/rate-limit';
import { createRateLimit } from 'plimsoll/rate-limit';
import type { RateLimiterAbstract } from 'rate-limiter-flexible';
import type { Subject } from './compare.ts';

/** Takes a point of each of the next `count` keys, from place `from` on, one after the other: how many were denied. */
export type Take = (keys: readonly string[], from: number, count: number) => Promise<number>;

export interface Limiter {
  readonly name: string;
  readonly setting: string;
  /** So many points an hour for each key; counters of another name are others. */
  readonly make: (name: string, points: number) => Take | Promise<Take>;
}

/** Nobody uses up so many in one run. */
const plenty = 1_000_000;
export const hourMs = 3_600_000;

const keyCount = 10_000;
const keys = Array.from({ length: keyCount }, (_, at) => `203.0.${at >> 8}.${at & 255}`);

export function plimsollTake(
  name: string,
  rule: Pick<RateLimitRule<string>, 'limit'> &
    ({ kind: 'rate'; perMs: number } | { kind: 'quota'; per: 'month' }),
  store?: RateLimitStore,
  atOnce = false,
): Take {
  const limit = createRateLimit<string>({
    name,
    rules: [{ ...rule, name: 'key', key: (subject) => subject }],
    // Whoever gives up on a busy machine would be the fastest.
    ...(store === undefined ? {} : { store, whenStoreFails: 'closed', storeTimeoutMs: 10_000 }),
  });
  if (atOnce)
    return async (all, from, count) => {
      let denied = 0;
      for (let at = from; at < from + count; at += 1)
        if (!limit.takeNow(all[at % all.length] as string).allowed) denied += 1;
      return denied;
    };
  return async (all, from, count) => {
    let denied = 0;
    for (let at = from; at < from + count; at += 1) {
      const { allowed } = await limit.take(all[at % all.length] as string);
      if (!allowed) denied += 1;
    }
    if (limit.state().degraded > 0) throw new Error('Plimsoll decided without its store');
    return denied;
  };
}

export function flexibleTake(limiter: RateLimiterAbstract): Take {
  return async (all, from, count) => {
    let denied = 0;
    for (let at = from; at < from + count; at += 1) {
      try {
        await limiter.consume(all[at % all.length] as string);
      } catch (refused) {
        if (refused instanceof Error) throw refused;
        denied += 1;
      }
    }
    return denied;
  };
}

export interface FastifyStore {
  incr(
    key: string,
    done: (error: Error | null, result: { readonly current: number } | null) => void,
    windowMs: number,
    max: number,
  ): void;
}

export function fastifyTake(store: FastifyStore, points: number): Take {
  const increment = (key: string): Promise<number> =>
    // As its plugin calls it.
    new Promise((resolve, reject) => {
      store.incr(
        key,
        (error, result) =>
          result === null ? reject(error ?? new Error('no result')) : resolve(result.current),
        hourMs,
        points,
      );
    });
  return async (all, from, count) => {
    let denied = 0;
    for (let at = from; at < from + count; at += 1)
      if ((await increment(all[at % all.length] as string)) > points) denied += 1;
    return denied;
  };
}

export function limitSubjects(
  limiters: readonly Limiter[],
  { callers, denies = false }: { readonly callers: number; readonly denies?: boolean },
): Subject[] {
  return limiters.map(({ name, setting, make }) => {
    let take: Take | undefined;
    const together = async (count: number): Promise<number> => {
      const each = Math.ceil(count / callers);
      const denied = await Promise.all(
        Array.from({ length: callers }, (_, caller) => {
          const from = caller * Math.ceil(keyCount / callers);
          const own = Math.max(0, Math.min(each, count - caller * each));
          return (take as Take)(keys, from, own);
        }),
      );
      return denied.reduce((sum, one) => sum + one, 0);
    };
    return {
      name,
      setting,
      async prove() {
        const three = await make('proof', 3);
        const own = await three(['ada'], 0, 5);
        const other = await three(['bob'], 0, 3);
        if (own !== 2 || other !== 0)
          throw new Error(`${name} denies ${own} of 5 and ${other} of 3; want 2 and 0`);
        take = await make('timed', denies ? 1 : plenty);
        // Every counter is there before anything is timed.
        const denied = await together(keyCount);
        if (denied !== 0) throw new Error(`${name} denies ${denied} first calls`);
      },
      async run(operations) {
        const denied = await together(operations);
        const wanted = denies ? operations : 0;
        if (denied !== wanted) throw new Error(`${name} denied ${denied} of ${operations}; want ${wanted}`);
      },
    };
  });
}
