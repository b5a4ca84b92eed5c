import pg from 'pg';
import { translateFailure } from './failures.ts';
import { parsers } from './parsers.ts';
import { sql } from './sql.ts';
import { queryable, runStatement, type Queryable } from './statements.ts';

/** One connection of its own, outside every pool: for session advisory locks, which live as long as it does. */
export interface Session extends Queryable {
  /** Of the server's process, as it or a pooler in its place has told it. */
  readonly processId: number | null;
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;
  /** Calls `heard` for each notification on the channel, for as long as the session lives. */
  listen(channel: string, heard: () => void): Promise<void>;
  close(): Promise<void>;
}

export function openSession(options: {
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
  return sessionOf(client, options.scope);
}

/** Connects the client, which then belongs to the session. */
export async function sessionOf(client: pg.Client, scope: object): Promise<Session> {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  client.on('end', () => resolve());
  // A broken connection also emits `end`; without this listener it would end the process.
  client.on('error', () => resolve());
  try {
    await client.connect();
  } catch (error) {
    throw translateFailure(error, 'primary');
  }
  const target = { server: 'primary', scope, cancels: false };
  return {
    ...queryable((statement, pick) => runStatement(client, statement, target, pick)),
    // The types of `pg` leave it out.
    processId: (client as pg.Client & { readonly processID: number | null }).processID,
    closed,
    async listen(channel, heard) {
      client.on('notification', (message) => {
        if (message.channel === channel) heard();
      });
      await runStatement(client, sql`listen ${sql.id(channel)}`, target, () => undefined);
    },
    async close() {
      await client.end().catch(() => undefined);
      resolve();
    },
  };
}
