import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { basename, join, sep } from 'node:path';
import type { ProcessEntry, ProcessIdentity } from './process-entry.ts';
import { parsePs } from './process-table-ps.ts';

let boot: string | undefined;

function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim().slice(0, 8);
  return boot;
}

/** Fields after the command name of `/proc/<pid>/stat`; the name may hold spaces and brackets. */
export function parseStat(
  stat: string,
): { state: string; parentPid: number; startTicks: string } | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, parent, ticks] = [fields[0], fields[1], fields[19]];
  if (state === undefined || parent === undefined || ticks === undefined) return undefined;
  return { state, parentPid: Number(parent), startTicks: ticks };
}

function readLinux(pid: number): ProcessEntry | undefined {
  try {
    const stat = parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    // A zombie holds nothing any more; it only waits for its parent to read its exit code.
    if (stat === undefined || stat.state === 'Z' || stat.state === 'X') return undefined;
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return { pid, parentPid: stat.parentPid, startedAt: `${bootId()}-${stat.startTicks}`, command };
  } catch {
    return undefined;
  }
}

function ps(selection: readonly string[]): ProcessEntry[] {
  try {
    const columns = ['-ww', '-o', 'pid=,ppid=,stat=,lstart=,command='];
    const output = execFileSync('ps', [...selection, ...columns], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
      maxBuffer: 64 * 1024 * 1024,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return parsePs(output);
  } catch {
    return [];
  }
}

/** `undefined` when no such process runs. */
export function readProcess(pid: number): ProcessEntry | undefined {
  if (process.platform === 'linux') return readLinux(pid);
  return ps(['-p', String(pid)])[0];
}

export function listProcesses(): ProcessEntry[] {
  if (process.platform !== 'linux') return ps(['-ax']);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readLinux(Number(name)))
    .filter((entry) => entry !== undefined);
}

export function identify(pid: number): ProcessIdentity | undefined {
  const entry = readProcess(pid);
  return entry && { pid: entry.pid, startedAt: entry.startedAt };
}

export function isRunning(process: ProcessIdentity): boolean {
  return readProcess(process.pid)?.startedAt === process.startedAt;
}

export function childrenOf(pid: number): ProcessEntry[] {
  return listProcesses().filter((entry) => entry.parentPid === pid);
}

export interface FoundServer extends ProcessIdentity {
  readonly program: 'postgres' | 'initdb';
  /** What follows `-D`. */
  readonly dataDir: string;
}

/** The programs started with a data directory in `directory`, their own children left out. */
export function serversUnder(
  directory: string,
  entries: readonly ProcessEntry[] = listProcesses(),
): FoundServer[] {
  const found: FoundServer[] = [];
  const argument = ` -D ${directory}${sep}`;
  for (const { pid, startedAt, command } of entries) {
    // The path is searched for, not split off: it may hold spaces.
    const at = command.indexOf(argument);
    const program = basename(command.slice(0, Math.max(0, at)));
    if (at < 0 || (program !== 'postgres' && program !== 'initdb')) continue;
    const [name = ''] = command.slice(at + argument.length).split(' ');
    found.push({ pid, startedAt, program, dataDir: join(directory, name) });
  }
  return found;
}

/** True when the signal was delivered; a process that is gone is no error. */
export function signal(target: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isRunning(target)) return false;
  try {
    return process.kill(target.pid, name);
  } catch {
    return false;
  }
}
