import { basename } from 'node:path';
import type { ProcessIdentity } from './process-entry.ts';
import { childrenOf, isRunning, serversUnder, signal, type FoundServer } from './process-table.ts';
import { removeSharedMemory, sharedMemoryOf } from './shared-memory.ts';
import { happensWithin } from './until.ts';

export const shutdownMs = { fast: 15_000, immediate: 8_000, kill: 5_000 } as const;

const allGone = (processes: readonly ProcessIdentity[]) => (): boolean => !processes.some(isRunning);

/**
 * SIGKILL to a postmaster, then to the children that do not notice it by themselves. The shared memory that they
 * can no longer remove goes too: the data directory may never be started again.
 */
export async function killTree(server: ProcessIdentity): Promise<void> {
  // Stopped first, so that it starts no child between the listing and its end.
  signal(server, 'SIGSTOP');
  const children = childrenOf(server.pid);
  const family = [server, ...children];
  const memory = sharedMemoryOf(family);
  signal(server, 'SIGKILL');
  if (!(await happensWithin(1_000, allGone(family)))) {
    for (const child of children) signal(child, 'SIGKILL');
    await happensWithin(shutdownMs.kill, allGone(family));
  }
  if (allGone(family)()) await removeSharedMemory(memory);
}

/**
 * `fast`: disconnect clients, write a checkpoint, end. `immediate`: end now, recover at the next start.
 * Each stage is bounded, the last one is SIGKILL.
 */
export async function stopServer(server: ProcessIdentity, mode: 'fast' | 'immediate'): Promise<void> {
  const children = childrenOf(server.pid);
  const gone = allGone([server, ...children]);
  if (mode === 'fast') {
    signal(server, 'SIGINT');
    if (await happensWithin(shutdownMs.fast, gone)) return;
  }
  signal(server, 'SIGQUIT');
  if (await happensWithin(shutdownMs.immediate, gone)) return;
  await killTree(server);
}

/** A stopped `initdb` is of no use to anybody; it leads its own process group. */
async function endInitdb(target: FoundServer): Promise<void> {
  const children = childrenOf(target.pid);
  // Politely first: its child then gives its shared memory back.
  for (const name of ['SIGTERM', 'SIGKILL'] as const) {
    try {
      if (isRunning(target)) process.kill(-target.pid, name);
    } catch {
      // It ended by itself.
    }
    if (await happensWithin(2_000, allGone([target, ...children]))) return;
  }
}

/** The primary first: it then hands its last write to the replicas before it ends. */
export async function stopAllUnder(directory: string, mode: 'fast' | 'immediate'): Promise<number> {
  const found = serversUnder(directory);
  const servers = found.filter((server) => server.program === 'postgres');
  const stop = (server: FoundServer): Promise<void> => stopServer(server, mode);
  await Promise.all(found.filter((server) => server.program === 'initdb').map(endInitdb));
  await Promise.all(servers.filter((server) => basename(server.dataDir) === 'primary').map(stop));
  await Promise.all(servers.filter((server) => basename(server.dataDir) !== 'primary').map(stop));
  return found.length;
}
