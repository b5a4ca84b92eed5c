import { setTimeout as delay } from 'node:timers/promises';
import type { ServingProcess } from './child-process.ts';
import { keys, type Servers } from './servers.ts';

const withinMs = 10_000;

/** When nothing changes any more, everybody is shown the same in the end; what is not is answered. */
export async function notConverged(
  servers: Servers,
  processes: readonly ServingProcess[],
): Promise<readonly string[]> {
  const rows = await servers.ask<{ key: string; version: number; history: number }>(
    servers.primary,
    'select key, version, history from kv',
  );
  const wrong: string[] = [];
  for (const process of processes)
    for (let n = 0; n < keys; n += 1) {
      const row = rows.find(({ key }) => key === `k${n}`);
      if (row === undefined) continue;
      const until = performance.now() + withinMs;
      for (;;) {
        const { version, history, error } = await process.ask({ do: 'read', key: row.key, path: 'cache' });
        if (version === row.version && history === row.history) break;
        if (performance.now() < until) {
          await delay(50);
          continue;
        }
        wrong.push(
          `process ${process.number}, cache, ${row.key}: version ${version} of history ${history} (${error ?? 'no error'}), and the primary has version ${row.version} of history ${row.history}`,
        );
        break;
      }
    }
  return wrong;
}
