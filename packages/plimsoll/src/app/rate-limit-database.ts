import pg from 'pg';
import { background } from '../kernel/channels.ts';
import { postgresStore } from '../rate-limit/postgres-store.ts';
import type { RateLimitStore } from '../rate-limit/store.ts';

export interface RateLimitDatabase {
  readonly store: RateLimitStore;
  close(): Promise<void>;
}

const maxConnections = 2;

/** Connections of its own: a flood that is counted must not take those of the work. They open with the first call. */
export function openRateLimitDatabase(url: string, name: string, scope: object): RateLimitDatabase {
  const pool = new pg.Pool({
    connectionString: url,
    max: maxConnections,
    connectionTimeoutMillis: 1_000,
    statement_timeout: 1_000,
    application_name: `${name} rate limits`,
    keepAlive: true,
  });
  pool.on('error', (error) =>
    background.publish({ scope, what: 'idle connection of the rate limits', error }),
  );
  return { store: postgresStore(pool), close: () => pool.end() };
}
