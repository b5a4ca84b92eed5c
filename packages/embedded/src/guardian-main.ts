/**
 * Runs as a process of its own, in a session of its own, with a pipe from the program that started a cluster.
 * The pipe closes when that program ends, whatever ended it: then the servers are stopped.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { removeCluster } from './remove-cluster.ts';
import { stopAllUnder } from './shutdown.ts';

const [directory, kind] = process.argv.slice(2);

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => undefined);

async function cleanUp(path: string): Promise<void> {
  // Twice: a server that was being started when the program died has its name in the process table a moment later.
  for (let round = 0; round < 2; round += 1) {
    await stopAllUnder(path, kind === 'temporary' ? 'immediate' : 'fast');
    if (round === 0) await delay(50);
  }
  if (kind === 'temporary') await removeCluster(path);
}

if (directory !== undefined) {
  process.stdin.resume();
  process.stdin.on('error', () => undefined);
  process.stdin.once('close', () => {
    cleanUp(directory).then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`);
        process.exit(1);
      },
    );
  });
  process.stdout.on('error', () => undefined);
  process.stdout.write('ready\n');
}
