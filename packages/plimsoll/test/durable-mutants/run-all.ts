/** Runs all schedules, with and without mutants, each on a database of its own, and tells its parent each verdict. */
import { inspect } from 'node:util';
import { startCluster, type Cluster } from '@plimsoll/embedded';
import { createDatabase } from '../../src/database/database.ts';
import { runsOf, type Run, type Verdict } from '../mutants/gate.ts';
import { loadLibrary } from '../mutants/load-library.ts';
import type { Library } from './ledger.ts';
import { mutants } from './mutants.ts';
import { Play } from './play.ts';
import { schedules } from './schedules.ts';

const entry = new URL('./library.ts', import.meta.url);
const only = process.argv[2] === undefined ? undefined : new RegExp(process.argv[2]);

async function judge(cluster: Cluster, { schedule: name, mutant }: Run): Promise<Verdict> {
  const startedMs = performance.now();
  const server = await cluster.createDatabase();
  const admin = createDatabase({ url: server.url, pool: { max: 4 } });
  let play: Play | undefined;
  let failure: string | undefined;
  let violations: readonly string[] = [];
  try {
    const library = await loadLibrary<Library>(
      entry,
      mutants.find((each) => each.name === mutant),
    );
    play = new Play(library, server, admin);
    await schedules.find((each) => each.name === name)?.run(play);
    violations = await play.verdict();
  } catch (error) {
    failure = inspect(error);
  }
  const ended = await Promise.allSettled([play?.end()]);
  await Promise.allSettled([admin.close()]);
  for (const each of ended) if (each.status === 'rejected') failure ??= inspect(each.reason);
  return {
    schedule: name,
    mutant,
    operations: play?.operations ?? 0,
    violations,
    failure,
    tookMs: Math.round(performance.now() - startedMs),
  };
}

process.on('disconnect', () => process.exit(1));
{
  await using cluster = await startCluster({ replicas: 0 });
  for (const run of runsOf(mutants, schedules)) {
    if (only !== undefined && !only.test(`${run.schedule} / ${run.mutant}`)) continue;
    const verdict = await judge(cluster, run);
    if (process.send === undefined) process.stdout.write(`${inspect(verdict)}\n`);
    else process.send(verdict);
  }
}
process.removeAllListeners('disconnect');
if (process.connected) process.disconnect();
