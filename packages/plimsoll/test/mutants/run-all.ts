/** Runs all schedules, with and without mutants, on one cluster of its own, and tells its parent each verdict. */
import { inspect } from 'node:util';
import { loadLibrary } from './load-library.ts';
import { Play, type Library } from './play.ts';
import type { Run, Verdict } from './gate.ts';
import { mutants, runs, schedules } from './runs.ts';
import { Stage } from './stage.ts';

const entry = new URL('./library.ts', import.meta.url);
const only = process.argv[2] === undefined ? undefined : new RegExp(process.argv[2]);

async function judge(stage: Stage, { schedule: name, mutant }: Run): Promise<Verdict> {
  const startedMs = performance.now();
  const schedule = schedules.find((each) => each.name === name);
  let play: Play | undefined;
  let failure: string | undefined;
  try {
    const library = await loadLibrary<Library>(
      entry,
      mutants.find((each) => each.name === mutant),
    );
    play = new Play(library, stage, await stage.newKey());
    await schedule?.run(play);
  } catch (error) {
    failure = inspect(error);
  }
  const ended = await Promise.allSettled([stage.reset(), play?.end()]);
  for (const each of ended) if (each.status === 'rejected') failure ??= inspect(each.reason);
  return {
    schedule: name,
    mutant,
    operations: play?.operations ?? 0,
    violations: play?.verdict() ?? [],
    failure,
    tookMs: Math.round(performance.now() - startedMs),
  };
}

process.on('disconnect', () => process.exit(1));
{
  await using stage = await Stage.open();
  for (const run of runs) {
    if (only !== undefined && !only.test(`${run.schedule} / ${run.mutant}`)) continue;
    const verdict = await judge(stage, run);
    if (process.send === undefined) process.stdout.write(`${inspect(verdict)}\n`);
    else process.send(verdict);
  }
}
process.removeAllListeners('disconnect');
if (process.connected) process.disconnect();
