import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { messageOf } from './errors.ts';

export interface Connection {
  rows<Row extends pg.QueryResultRow>(text: string, values?: readonly unknown[]): Promise<Row[]>;
}

export interface ClientOptions {
  /** For connecting, and for each statement. */
  readonly timeoutMs?: number;
}

const goodbyeMs = 1_000;

/** Opens one connection, lends it, closes it whatever happens. */
export async function withClient<T>(
  url: string,
  use: (connection: Connection) => Promise<T>,
  options: ClientOptions = {},
): Promise<T> {
  const timeoutMs = Math.max(1, Math.ceil(options.timeoutMs ?? 10_000));
  const socket = new Socket();
  const client = new pg.Client({
    stream: () => socket,
    connectionString: url,
    application_name: 'plimsoll-embedded',
    connectionTimeoutMillis: timeoutMs,
    statement_timeout: timeoutMs,
    query_timeout: timeoutMs + 1_000,
  });
  // A backend that is terminated emits this on the client; without a listener the whole process would die.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await use({
      rows: async <Row extends pg.QueryResultRow>(
        text: string,
        values: readonly unknown[] = [],
      ): Promise<Row[]> => (await client.query<Row>(text, [...values])).rows,
    });
  } finally {
    // A frozen server never answers the farewell; then the connection is cut.
    const patience = new AbortController();
    const tooLong = delay(goodbyeMs, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([client.end().catch(() => undefined), tooLong]);
    patience.abort();
    socket.destroy();
  }
}

/** The same server, another database. */
export function urlOfDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${encodeURIComponent(database)}`;
  return changed.href;
}

/** Without user and password, for messages. */
export function redacted(url: string): string {
  try {
    const { hostname, port, pathname } = new URL(url);
    return `${hostname}:${port || '5432'}${pathname}`;
  } catch (error) {
    return `an unreadable URL (${messageOf(error)})`;
  }
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
