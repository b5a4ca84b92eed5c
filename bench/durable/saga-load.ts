/** In the process of one subject: how fast sagas of three steps come to their end. Told to the parent. */
export interface SagaFigures {
  /** One after the other. */
  readonly p50Ms: number;
  /** With 50 under way. */
  readonly perSecond: number;
}

const forMs = 3_000;
const lanes = 50;

/** `run` resolves when the saga is done. */
export async function measureSagas(run: (n: number) => Promise<void>): Promise<void> {
  let n = 0;
  const once = async (): Promise<number> => {
    const beganMs = performance.now();
    n += 1;
    await run(n);
    return performance.now() - beganMs;
  };
  for (let warm = 0; warm < 20; warm += 1) await once();
  const times: number[] = [];
  const endMs = performance.now() + forMs;
  while (performance.now() < endMs) times.push(await once());
  times.sort((a, b) => a - b);

  let done = 0;
  const beganMs = performance.now();
  const lane = async (): Promise<void> => {
    while (performance.now() - beganMs < forMs) {
      await once();
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  const perSecond = done / ((performance.now() - beganMs) / 1_000);
  process.send?.({
    p50Ms: times[Math.floor(times.length / 2)] ?? Number.NaN,
    perSecond,
  } satisfies SagaFigures);
}
