import { setImmediate as turn } from 'node:timers/promises';
import {
  bulkhead,
  circuitBreaker,
  ExponentialBackoff,
  handleAll,
  retry,
  SamplingBreaker,
  timeout,
  TimeoutStrategy,
  wrap,
} from 'cockatiel';
import { createPolicy } from 'plimsoll/policy';
import { answer, type Work } from './breakers.ts';
import type { Opening, Subject } from './compare.ts';
import { inSequence } from './pass-through.ts';

type SignalledWork = (attempt: { readonly signal: AbortSignal }) => Promise<number>;

interface Limits {
  readonly attempts: number;
  readonly timeoutMs: number;
}

interface FullPolicy {
  readonly name: string;
  readonly setting: string;
  readonly make: (work: SignalledWork, limits: Limits) => Work;
}

const permits = 50;
const usual: Limits = { attempts: 3, timeoutMs: 5_000 };
const alike = 'three attempts, half of the calls of 10 s, 50 at once and 100 waiting, 5 s an attempt';

const plimsoll = ({ attempts, timeoutMs }: Limits, ambient: boolean): ReturnType<typeof createPolicy> =>
  createPolicy({
    name: 'bench',
    retry: { safe: true, attempts, ambient },
    breaker: {},
    bulkhead: { max: permits, maxWaiting: 100 },
    timeout: { ms: timeoutMs },
  });

const cockatiel =
  (strategy: TimeoutStrategy, abortOnReturn = true): FullPolicy['make'] =>
  (work, { attempts, timeoutMs }) => {
    const breaker = new SamplingBreaker({ threshold: 0.5, duration: 10_000, minimumRps: 2 });
    const policy = wrap(
      retry(handleAll, {
        maxAttempts: attempts - 1,
        backoff: new ExponentialBackoff({ initialDelay: 50, maxDelay: 1_000 }),
      }),
      circuitBreaker(handleAll, { halfOpenAfter: 1_000, breaker }),
      bulkhead(permits, 100),
      timeout(timeoutMs, { strategy, abortOnReturn }),
    );
    return () => policy.execute(work);
  };

const policies: readonly FullPolicy[] = [
  {
    name: 'plimsoll',
    setting: `createPolicy: ${alike}; the work is given up at its time whether it looks at its signal or not`,
    make(work, limits) {
      const policy = plimsoll(limits, true);
      return () => policy.run(work);
    },
  },
  {
    name: 'plimsoll, not ambient',
    setting: 'the same with retry: { ambient: false }',
    make(work, limits) {
      const policy = plimsoll(limits, false);
      return () => policy.run(work);
    },
  },
  {
    name: 'cockatiel cooperative, no abort',
    setting: `wrap(retry, circuitBreaker with SamplingBreaker, bulkhead, timeout): ${alike}; the work must look at its signal; abortOnReturn: false, its fastest, which its types document and its readme does not`,
    make: cockatiel(TimeoutStrategy.Cooperative, false),
  },
  {
    name: 'cockatiel cooperative',
    setting: 'the same as its readme has it: the signal aborts after every call',
    make: cockatiel(TimeoutStrategy.Cooperative),
  },
  {
    name: 'cockatiel aggressive',
    setting: 'the same, and the work is given up at its time, as in Plimsoll',
    make: cockatiel(TimeoutStrategy.Aggressive),
  },
];

/** What retry, breaker, bulkhead and timeout together cost a call that succeeds. */
export const fullPolicy: Opening = async () => {
  const work = async (): Promise<number> => answer;
  return {
    name: 'full policy',
    baseline: 'bare await',
    burstMs: 100,
    subjects: [
      {
        name: 'bare await',
        setting: 'an async function that returns a number; it is what the others guard too',
        prove: async () => undefined,
        run: inSequence(work),
      },
      ...policies.map((policy): Subject => ({
        name: policy.name,
        setting: policy.setting,
        prove: () => proveGuards(policy),
        run: inSequence(policy.make(work, usual)),
      })),
    ],
  };
};

async function proveGuards({ name, make }: FullPolicy): Promise<void> {
  const demand = (holds: boolean, what: string): void => {
    if (!holds) throw new Error(`${name} ${what}`);
  };
  let made = 0;
  const once = make(async () => {
    made += 1;
    if (made === 1) throw Object.assign(new Error('ill for a moment'), { status: 503 });
    return answer;
  }, usual);
  demand((await once()) === answer && made === 2, 'does not retry');

  const hanging: SignalledWork = ({ signal }) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
    });
  const limit = Promise.withResolvers<string>();
  // It also keeps the process alive, which the timer of a guard need not do.
  const alarm = setTimeout(() => limit.resolve('hangs'), 2_000);
  const timed = make(hanging, { attempts: 1, timeoutMs: 20 })().catch(() => 'timed out');
  const late = await Promise.race([timed, limit.promise]);
  clearTimeout(alarm);
  demand(late === 'timed out', 'does not time out');

  made = 0;
  const ill = make(
    async () => {
      made += 1;
      throw new Error('ill');
    },
    { ...usual, attempts: 1 },
  );
  for (let at = 0; at < 300; at += 1) await ill().catch(() => undefined);
  const before = made;
  await ill().catch(() => undefined);
  demand(made === before, `still calls what has failed ${before} times`);

  const gate = Promise.withResolvers<number>();
  made = 0;
  const held = make(() => {
    made += 1;
    return gate.promise;
  }, usual);
  const calls = Array.from({ length: permits + 10 }, () => held());
  for (let at = 0; at < 10; at += 1) await turn();
  const atOnce = made;
  gate.resolve(answer);
  await Promise.all(calls);
  demand(atOnce === permits && made === permits + 10, `makes ${atOnce} calls at once; want ${permits}`);
}
