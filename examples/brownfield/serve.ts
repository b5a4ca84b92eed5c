// Starts the second version, and ends it in the right order.
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import pg from 'pg';
import { createApp, type App } from 'plimsoll';
import { createLogger, type Logger } from 'plimsoll/telemetry';
import { createMailWorker, createSite, type SendMail } from './after.ts';
import sitePlan from './plimsoll.plan.ts';

export interface ServeOptions {
  /** Default: DATABASE_URL. */
  readonly databaseUrl?: string;
  /** Default: the primary. */
  readonly replicaUrl?: string;
  /** Default 3000. */
  readonly port?: number;
}

export interface Site {
  readonly url: string;
  readonly app: App;
  readonly pool: pg.Pool;
  readonly stop: () => Promise<void>;
}

export async function serve(
  sendMail: SendMail,
  options: ServeOptions = {},
  logger: Logger = createLogger({ name: 'site' }),
): Promise<Site> {
  const { databaseUrl = process.env['DATABASE_URL'], replicaUrl, port = 3_000 } = options;
  // #region start
  const pool = new pg.Pool({ connectionString: databaseUrl });
  const replica = new pg.Pool({ connectionString: replicaUrl ?? databaseUrl });

  const app = createApp(sitePlan, { databaseUrl, listen: false, logger });
  await app.start(); // applies missing migrations, then starts the relay and the worker of the modules
  const mails = createMailWorker(pool, app, sendMail);
  await mails.start();

  const server = createSite(pool, replica, app).listen(port, '127.0.0.1');
  await once(server, 'listening');

  /** For SIGTERM: first no new requests, then no new work, at last the connections. */
  async function stop(): Promise<void> {
    await new Promise((resolve) => server.close(resolve));
    await mails.stop();
    await app.stop();
    await Promise.all([pool.end(), replica.end()]);
  }
  // #endregion
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, app, pool, stop };
}
