import { execFile } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';
import type { ProcessIdentity } from './process-entry.ts';

/** What a killed PostgreSQL leaves in the system until its data directory is started again, or for ever. */
export interface SharedMemory {
  /** Ids of System V segments. */
  readonly segments: readonly string[];
  /** Paths of POSIX segments. */
  readonly files: readonly string[];
}

/** Reads `/proc/<pid>/maps`: the fifth column of a System V segment is its id. */
export function parseMaps(maps: string): SharedMemory {
  const segments = [...maps.matchAll(/ (\d+)\s+\/SYSV[0-9a-f]{8}(?: \(deleted\))?$/gm)].map(
    (match) => match[1] ?? '',
  );
  const files = [...maps.matchAll(/ (\/dev\/shm\/PostgreSQL\.\d+)$/gm)].map((match) => match[1] ?? '');
  return { segments: [...new Set(segments)], files: [...new Set(files)] };
}

/** Empty where there is no `/proc`. */
export function sharedMemoryOf(processes: readonly ProcessIdentity[]): SharedMemory {
  const maps = processes.map(({ pid }) => {
    try {
      return readFileSync(`/proc/${pid}/maps`, 'utf8');
    } catch {
      return '';
    }
  });
  return parseMaps(maps.join('\n'));
}

/** Only for memory whose processes are all gone. */
export async function removeSharedMemory({ segments, files }: SharedMemory): Promise<void> {
  for (const file of files) rmSync(file, { force: true });
  const remove = segments.map((id) => promisify(execFile)('ipcrm', ['-m', id]));
  // Without `ipcrm`, or when a segment is gone already, 56 bytes are left at worst.
  await Promise.allSettled(remove);
}
