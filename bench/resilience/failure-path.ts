import { answer, breakers, type Breaker, type Guarded } from './breakers.ts';
import type { Opening, Subject } from './compare.ts';

export const successCounts = [1_000, 10_000, 100_000] as const;

export const failurePathName = (successes: number): string =>
  `failing call, ${successes.toLocaleString('en')} successes in the window`;

/** What a failing call costs while the window is full and the breaker stays closed. */
export const failurePath =
  (successes: number): Opening =>
  async () => {
    const subjects = breakers
      .filter(({ name, hasWindow }) => hasWindow && name !== 'plimsoll permit')
      .map((breaker) => failing(breaker, successes));
    return {
      name: failurePathName(successes),
      baseline: 'plimsoll time window',
      burstMs: 30,
      // A third of all, at 1,000: nobody opens.
      mostOperations: 500,
      subjects: subjects.map(({ subject }) => subject),
      async close() {
        for (const { close } of subjects) close();
      },
    };
  };

function failing(
  { name, setting, make }: Breaker,
  successes: number,
): { readonly subject: Subject; readonly close: () => void } {
  const error = new Error('ill');
  let ill = false;
  let made = 0;
  let guarded: Guarded | undefined;
  const close = (): void => guarded?.close?.();

  async function prepare(): Promise<void> {
    close();
    ill = false;
    guarded = make(
      async () => {
        made += 1;
        if (ill) throw error;
        return answer;
      },
      { calls: 100_000, ms: 60_000 },
    );
    for (let at = 0; at < successes; at += 1) await guarded.call();
    ill = true;
  }
  async function run(operations: number): Promise<void> {
    const { call } = guarded as Guarded;
    const before = made;
    for (let at = 0; at < operations; at += 1) {
      try {
        await call();
      } catch {
        // As it should.
      }
    }
    if (made - before !== operations)
      throw new Error(`${name}: ${made - before} of ${operations} calls were made; it must stay closed`);
  }
  return {
    close,
    subject: {
      name,
      setting: `${setting}; here with windows of 60 s or 100,000 calls, so that all successes are in it`,
      prove: async () => {
        await prepare();
        await run(1);
      },
      prepare,
      run,
    },
  };
}
