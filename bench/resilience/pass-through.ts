import { answer, breakers, type Breaker, type Work } from './breakers.ts';
import type { Opening, Subject } from './compare.ts';

const window = { calls: 100, ms: 10_000 };
const work: Work = async () => answer;

/** What a closed breaker costs a call that succeeds. */
export const passThrough: Opening = async () => {
  const guarded = breakers.map((breaker) => ({ breaker, ...breaker.make(work, window) }));
  return {
    name: 'breaker',
    baseline: 'bare await',
    burstMs: 100,
    subjects: [
      {
        name: 'bare await',
        setting: 'an async function that returns a number; it is what the others guard too',
        prove: async () => undefined,
        run: inSequence(work),
      },
      ...guarded.map(({ breaker, call }): Subject => {
        const { name, setting } = breaker;
        return { name, setting, prove: () => proveOpens(breaker), run: inSequence(call) };
      }),
    ],
    async close() {
      for (const each of guarded) each.close?.();
    },
  };
};

export function inSequence(call: Work): (operations: number) => Promise<void> {
  return async (operations) => {
    let sum = 0;
    for (let at = 0; at < operations; at += 1) sum += await call();
    if (sum !== operations * answer) throw new Error(`${operations} calls gave ${sum}`);
  };
}

async function proveOpens({ name, make }: Breaker): Promise<void> {
  let made = 0;
  let ill = false;
  const { call, close } = make(async () => {
    made += 1;
    if (ill) throw new Error('ill');
    return answer;
  }, window);
  try {
    if ((await call()) !== answer) throw new Error(`${name} does not give back what the call gave`);
    ill = true;
    for (let at = 0; at < 300; at += 1) await call().catch(() => undefined);
    const before = made;
    await call().then(
      () => {
        throw new Error(`${name} answers for what is ill`);
      },
      () => undefined,
    );
    if (made !== before) throw new Error(`${name} still calls what has failed ${before} times`);
  } finally {
    close?.();
  }
}
