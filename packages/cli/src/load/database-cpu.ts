import { readdir, readFile } from 'node:fs/promises';
import { createDatabase } from 'plimsoll/database';
import { sql } from 'plimsoll';

/** Linux reports CPU time in ticks of 1/100 s, whatever the kernel's own tick is. */
const msPerTick = 10;

interface ProcessStat {
  readonly parent: number;
  readonly cpuMs: number;
}

/** Fields after the command, which stands in parentheses and may hold spaces (proc(5)). */
async function readStat(pid: number): Promise<ProcessStat | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const at = (index: number): number => Number(fields[index] ?? 0);
  // state ppid … utime stime cutime cstime: cutime holds the time of backends that have ended.
  return { parent: at(1), cpuMs: (at(11) + at(12) + at(13) + at(14)) * msPerTick };
}

/**
 * The postmaster behind a URL, when it runs on this machine and the machine tells; else undefined.
 */
export async function findPostmaster(url: string): Promise<number | undefined> {
  await using database = createDatabase({ url, applicationName: 'plimsoll load', pool: { max: 1 } });
  const { pid } = await database.one<{ pid: number }>(sql`select pg_backend_pid() as pid`);
  const command = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
  if (command.trim() !== 'postgres') return undefined;
  return (await readStat(pid))?.parent;
}

/** CPU time of servers with all their processes, in ms since they started; undefined when it cannot be read. */
export async function databaseCpuMs(postmasters: readonly number[]): Promise<number | undefined> {
  if (postmasters.length === 0) return undefined;
  const pids = (await readdir('/proc').catch(() => [])).map(Number).filter((pid) => pid > 0);
  const wanted = new Set(postmasters);
  let total = 0;
  let found = 0;
  for (const pid of pids) {
    const stat = await readStat(pid);
    if (stat === undefined || !(wanted.has(pid) || wanted.has(stat.parent))) continue;
    total += stat.cpuMs;
    found += 1;
  }
  return found === 0 ? undefined : total;
}
