// @ts-expect-error it has no types
import LocalStore from '@fastify/rate-limit/store/LocalStore.js';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import type { Opening } from './compare.ts';
import {
  fastifyTake,
  flexibleTake,
  hourMs,
  limitSubjects,
  plimsollTake,
  type FastifyStore,
  type Limiter,
} from './limiters.ts';

type NewLocalStore = new (
  continueExceeding: boolean,
  exponentialBackoff: boolean,
  cache: number,
) => FastifyStore;

const limiters: readonly Limiter[] = [
  {
    name: 'plimsoll GCRA',
    setting: 'one rule of kind rate, memoryStore of 100,000 keys',
    make: (name, limit) => plimsollTake(name, { kind: 'rate', limit, perMs: hourMs }),
  },
  {
    name: 'plimsoll GCRA, takeNow',
    setting: 'the same by takeNow, which gives no promise',
    make: (name, limit) => plimsollTake(name, { kind: 'rate', limit, perMs: hourMs }, undefined, true),
  },
  {
    name: 'plimsoll fixed window',
    setting: 'one rule of kind quota for a month, memoryStore of 100,000 keys',
    make: (name, limit) => plimsollTake(name, { kind: 'quota', limit, per: 'month' }),
  },
  {
    name: 'rate-limiter-flexible',
    setting: 'RateLimiterMemory, which has no bound; fixed window of an hour',
    make: (keyPrefix, points) =>
      flexibleTake(new RateLimiterMemory({ keyPrefix, points, duration: hourMs / 1_000 })),
  },
  {
    name: '@fastify/rate-limit',
    setting:
      'its LocalStore, without the plugin around it, cache of 100,000 keys (its default of 5,000 would forget half); fixed window of an hour',
    make: (_, points) => fastifyTake(new (LocalStore as NewLocalStore)(false, false, 100_000), points),
  },
];

export const memoryLimitsName = (verdict: 'allowed' | 'denied'): string => `rate limit in memory, ${verdict}`;

/** 10,000 keys in turn, one call after the other. */
export const memoryLimits =
  (verdict: 'allowed' | 'denied'): Opening =>
  async () => ({
    name: memoryLimitsName(verdict),
    baseline: 'plimsoll GCRA',
    burstMs: 100,
    subjects: limitSubjects(limiters, { callers: 1, denies: verdict === 'denied' }),
  });
