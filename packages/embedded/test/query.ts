import { existsSync, readFileSync } from 'node:fs';
import type { ProcessEntry } from '../src/process-entry.ts';
import { listProcesses } from '../src/process-table.ts';
import { withClient } from '../src/client.ts';
import { until } from '../src/until.ts';

export function query<Row extends object>(
  url: string,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  return withClient(url, (connection) => connection.rows<Row>(text, values));
}

/** Every process whose command names the directory: servers, `initdb` and the guardian. */
export function processesOf(directory: string): ProcessEntry[] {
  return listProcesses().filter(
    (entry) => entry.command.includes(directory) && !entry.command.includes('cluster-program'),
  );
}

/** Waits until nothing of a cluster is left; a directory that is kept may stay. */
export async function nothingLeft(directory: string, mayStay = false): Promise<void> {
  await until(() => processesOf(directory).length === 0 && (mayStay || !existsSync(directory)), {
    timeoutMs: 20_000,
    late: () =>
      new Error(`still there: ${JSON.stringify(processesOf(directory))}, directory ${existsSync(directory)}`),
  });
}

export function guardianOf(directory: string): number {
  const lock = JSON.parse(readFileSync(`${directory}/lock`, 'utf8')) as { guardian: { pid: number } };
  return lock.guardian.pid;
}
