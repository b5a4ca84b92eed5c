import { existsSync } from 'node:fs';
import { readPassword } from './initialise.ts';
import { isHeld, readLock } from './lock.ts';
import { placeOf } from './places.ts';
import { serverUser } from './server-user.ts';
import { readState } from './state.ts';

/** Servers that another process has started. */
export interface RunningCluster {
  readonly url: string;
  readonly replicaUrls: readonly string[];
}

/**
 * How to reach the servers on a `dataDir` that are up, whichever process started them; they end with that one.
 * Undefined when none has, or when a start is not so far yet.
 */
export function runningCluster(dataDir: string): RunningCluster | undefined {
  const { path } = placeOf(dataDir, serverUser());
  if (!existsSync(path) || !isHeld(readLock(path))) return undefined;
  const { primary, ...others } = readState(path)?.ports ?? {};
  if (primary === undefined) return undefined;
  const password = readPassword(path, false);
  const urlOf = (port: number): string => `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
  return { url: urlOf(primary), replicaUrls: Object.values(others).map(urlOf) };
}
