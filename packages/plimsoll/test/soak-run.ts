/** What a number given as `--minutes` must be. Throws TypeError, which says what is allowed. */
export function minutesOf(given: string, least: number): number {
  const minutes = Number(given);
  if (minutes >= least && minutes <= 120) return minutes;
  throw new TypeError(`--minutes is ${JSON.stringify(given)}; want a number from ${least} to 120`);
}

/** A new one where none is given. Throws TypeError. */
export function seedOf(given: string | undefined): number {
  if (given === undefined) return Math.floor(Math.random() * 2 ** 31);
  const seed = Number(given);
  if (Number.isInteger(seed) && seed >= 0) return seed;
  throw new TypeError(`--seed is ${JSON.stringify(given)}; want a whole number from 0`);
}

const endMs = 10_000;

/**
 * Runs a soak to its end and sets the exit code: 0, 1 when `run` answers false, 2 when it could not be run. A run that
 * is over does not stay, whatever it has left open, and then it was not well.
 */
export async function runSoak(run: () => Promise<boolean>): Promise<void> {
  try {
    process.exitCode = (await run()) ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${error instanceof TypeError ? error.message : String((error as Error).stack)}\n`);
    process.exitCode = 2;
  }
  setTimeout(() => {
    process.stderr.write(`something was still open ${endMs / 1_000} s after the end\n`);
    process.exit(process.exitCode === 2 ? 2 : 1);
  }, endMs).unref();
}
