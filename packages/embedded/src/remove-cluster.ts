import { chownSync, existsSync, lstatSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isRoot } from './server-user.ts';
import { clusterMark } from './places.ts';

/** As root: takes the tree away from its user first, who could otherwise swap parts of it for links meanwhile. */
export async function removeTree(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (isRoot() && found.isDirectory()) chownSync(path, 0, 0);
  await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
}

/** Removes a whole cluster, the mark last, so that an interrupted removal is found again. */
export async function removeCluster(path: string): Promise<void> {
  if (!existsSync(path)) return;
  for (const name of readdirSync(path))
    if (name !== clusterMark && name !== 'lock') await removeTree(join(path, name));
  await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
}

/** Removes the data of all servers and what belongs to it; the lock, the mark and the guardian's log stay. */
export async function removeData(path: string): Promise<void> {
  for (const name of readdirSync(path))
    if (/^(primary|replica-\d+|state\.json|password)(\.|$)/.test(name)) await removeTree(join(path, name));
}
