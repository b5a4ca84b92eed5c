import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isHeld, readLock } from './lock.ts';
import { publicDirectories, temporaryPrefix } from './places.ts';
import { removeCluster } from './remove-cluster.ts';
import type { ServerUser } from './server-user.ts';
import { stopAllUnder } from './shutdown.ts';

/** Younger directories may be about to get their lock. */
const graceMs = 60_000;

function isAbandoned(path: string): boolean {
  try {
    const found = statSync(path);
    if (!found.isDirectory() || found.uid !== process.geteuid?.()) return false;
    const lock = readLock(path);
    if (lock === undefined) return Date.now() - found.mtimeMs > graceMs;
    return !isHeld(lock);
  } catch {
    return false;
  }
}

/** Ends and removes temporary clusters whose program and guardian both died, as in an out-of-memory kill. */
export async function sweepAbandoned(
  user: ServerUser | undefined,
  log: (line: string) => void,
): Promise<void> {
  const prefix = `${temporaryPrefix}${process.geteuid?.() ?? 0}-`;
  for (const parent of publicDirectories(user)) {
    for (const name of readdirSync(parent).filter((entry) => entry.startsWith(prefix))) {
      const path = join(parent, name);
      if (!isAbandoned(path)) continue;
      try {
        await stopAllUnder(path, 'immediate');
        await removeCluster(path);
        log(`removed ${path}, left by a program that was killed together with its guardian`);
      } catch {
        // Another program sweeps it at the same time, or it cannot be removed: no reason not to start.
      }
    }
  }
}
