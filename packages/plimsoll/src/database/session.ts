import pg from 'pg';
import { translateFailure } from './failures.ts';
import { parsers } from './parsers.ts';
import { queryable, runStatement, type Queryable } from './statements.ts';

/** One connection of its own, outside every pool: for session advisory locks, which live as long as it does. */
export interface Session extends Queryable {
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

export async function openSession(options: {
  readonly url: string;
  readonly applicationName: string;
  readonly scope: object;
}): Promise<Session> {
  const client = new pg.Client({
    connectionString: options.url,
    application_name: options.applicationName,
    connectionTimeoutMillis: 5_000,
    types: parsers,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  });
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  client.on('end', () => resolve());
  // A broken connection also emits `end`; without this listener it would end the process.
  client.on('error', () => resolve());
  try {
    await client.connect();
  } catch (error) {
    throw translateFailure(error, 'primary');
  }
  const target = { server: 'primary', scope: options.scope, cancels: false };
  return {
    ...queryable((statement, pick) => runStatement(client, statement, target, pick)),
    closed,
    async close() {
      await client.end().catch(() => undefined);
      resolve();
    },
  };
}
