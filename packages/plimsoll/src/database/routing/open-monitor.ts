import pg from 'pg';
import type { OpenMonitor } from './monitor.ts';

const connectMs = 1_000;

/** Connections for questions about the server of this URL. */
export function openMonitor(url: string, applicationName: string): OpenMonitor {
  return monitorOf(
    () =>
      new pg.Client({
        connectionString: url,
        application_name: applicationName,
        connectionTimeoutMillis: connectMs,
        keepAlive: true,
      }),
  );
}

/** The same with connections that somebody else knows how to make. */
export function monitorOf(create: () => pg.Client): OpenMonitor {
  return async () => {
    const client = create();
    let ended = false;
    const end = (): void => {
      ended = true;
    };
    client.on('end', end);
    // A terminated backend reports here; without a listener the process would die.
    client.on('error', end);
    await client.connect();
    // Nobody has to close what only watches; while a question waits for its answer, its time limit keeps the process.
    (client as unknown as { unref?: () => void }).unref?.();
    return { client, ended: () => ended };
  };
}
