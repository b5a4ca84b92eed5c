import {
  circuitBreaker,
  ConsecutiveBreaker,
  CountBreaker,
  handleAll,
  SamplingBreaker,
  type IBreaker,
} from 'cockatiel';
// @ts-expect-error it has no types
import OpossumBreaker from 'opossum';
import { createBreaker, type BreakerOptions } from 'plimsoll/breaker';

export const answer = 7;
export type Work = () => Promise<number>;

/** What the window holds at most: of the one kind calls, of the other milliseconds. */
export interface Window {
  readonly calls: number;
  readonly ms: number;
}

export interface Guarded {
  readonly call: Work;
  readonly close?: () => void;
}

export interface Breaker {
  readonly name: string;
  readonly setting: string;
  /** Whether what it holds depends on the window. */
  readonly hasWindow: boolean;
  readonly make: (work: Work, window: Window) => Guarded;
}

const ours = (options: Omit<BreakerOptions, 'name'>): ReturnType<typeof createBreaker> =>
  createBreaker({ name: 'bench', ...options });

function cockatiel(breaker: IBreaker, work: Work): Guarded {
  const policy = circuitBreaker(handleAll, { halfOpenAfter: 1_000, breaker });
  return { call: () => policy.execute(work) };
}

interface Opossum {
  fire(): Promise<number>;
  shutdown(): void;
}
type NewOpossum = new (work: Work, options: object) => Opossum;

function opossum(options: object, work: Work): Guarded {
  const breaker = new (OpossumBreaker as NewOpossum)(work, options);
  return { call: () => breaker.fire(), close: () => breaker.shutdown() };
}

/** Half of the calls must fail for each of them to open, but for the consecutive one. */
export const breakers: readonly Breaker[] = [
  {
    name: 'plimsoll time window',
    setting: 'defaults: 10 s in buckets',
    hasWindow: true,
    make(work, { ms }) {
      const breaker = ours({ windowMs: ms });
      return { call: () => breaker.run(work) };
    },
  },
  {
    name: 'plimsoll count window',
    setting: 'windowCalls: 100',
    hasWindow: true,
    make(work, { calls }) {
      const breaker = ours({ windowCalls: calls });
      return { call: () => breaker.run(work) };
    },
  },
  {
    name: 'plimsoll permit',
    setting: 'acquire and succeed by hand, time window',
    hasWindow: true,
    make(work, { ms }) {
      const breaker = ours({ windowMs: ms });
      return {
        async call() {
          const permit = breaker.acquire();
          let value: number;
          try {
            value = await work();
          } catch (error) {
            permit.fail(error);
            throw error;
          }
          permit.succeed();
          return value;
        },
      };
    },
  },
  {
    name: 'cockatiel consecutive',
    setting: 'ConsecutiveBreaker(5), which has no window',
    hasWindow: false,
    make: (work) => cockatiel(new ConsecutiveBreaker(5), work),
  },
  {
    name: 'cockatiel count',
    setting: 'CountBreaker of 100 calls, threshold 0.5',
    hasWindow: true,
    make: (work, { calls }) => cockatiel(new CountBreaker({ threshold: 0.5, size: calls }), work),
  },
  {
    name: 'cockatiel sampling',
    setting: 'SamplingBreaker of 10 s, threshold 0.5, minimumRps 2',
    hasWindow: true,
    make: (work, { ms }) =>
      cockatiel(new SamplingBreaker({ threshold: 0.5, duration: ms, minimumRps: 2 }), work),
  },
  {
    name: 'opossum',
    setting: 'defaults: window and timeout of 10 s, percentiles',
    hasWindow: true,
    make: (work, { ms }) => opossum({ rollingCountTimeout: ms }, work),
  },
  {
    name: 'opossum lean',
    setting: 'timeout: false, rollingPercentilesEnabled: false, enableSnapshots: false',
    hasWindow: true,
    make: (work, { ms }) =>
      opossum(
        {
          rollingCountTimeout: ms,
          timeout: false,
          rollingPercentilesEnabled: false,
          enableSnapshots: false,
        },
        work,
      ),
  },
];
