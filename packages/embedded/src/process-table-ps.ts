import type { ProcessEntry } from './process-entry.ts';

const line = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(\S+\s+\S+\s+\d+\s+[\d:]+\s+\d{4})\s+(.*)$/;

/** Reads `ps -o pid=,ppid=,stat=,lstart=,command=`, for systems without `/proc`. Zombies are left out. */
export function parsePs(output: string): ProcessEntry[] {
  const entries: ProcessEntry[] = [];
  for (const text of output.split('\n')) {
    const [, pid, parentPid, state, startedAt, command] = line.exec(text) ?? [];
    if (pid === undefined || startedAt === undefined || state?.startsWith('Z')) continue;
    entries.push({
      pid: Number(pid),
      parentPid: Number(parentPid),
      startedAt: startedAt.replace(/\s+/g, ' '),
      command: (command ?? '').trim(),
    });
  }
  return entries;
}
