import type pg from 'pg';

/** A connection of its own to one server, for questions about the server itself. */
export interface MonitorConnection {
  readonly client: pg.Client;
  /** True once it has ended, whoever ended it. */
  readonly ended: () => boolean;
}

/** Opens one; rejects when the server cannot be reached. */
export type OpenMonitor = () => Promise<MonitorConnection>;

/**
 * Asks one server, on a connection that is opened when it is needed and thrown away when it fails or is late: what a
 * late answer would tell is old by then.
 */
export class Monitor {
  readonly #open: OpenMonitor;
  readonly #timeoutMs: number;
  /** Replaced after each failure. */
  #connection: Promise<MonitorConnection> | undefined;
  #closed = false;

  constructor(open: OpenMonitor, timeoutMs: number) {
    this.#open = open;
    this.#timeoutMs = timeoutMs;
  }

  /** The only row of the answer. */
  async ask(text: string): Promise<unknown> {
    if (this.#closed) throw new Error('the monitor was closed');
    const connecting = (this.#connection ??= this.#open());
    try {
      const { client, ended } = await connecting;
      if (ended()) throw new Error('the connection ended');
      const { rows } = await within(this.#timeoutMs, client.query<Record<string, unknown>>(text));
      return rows[0];
    } catch (error) {
      // A statement that the server refused leaves the connection as it was.
      if (!isRefusal(error)) this.#drop(connecting);
      throw error;
    }
  }

  /** Ends the connection; the next question opens another one. */
  async rest(): Promise<void> {
    const connecting = this.#connection;
    this.#connection = undefined;
    if (connecting === undefined) return;
    const { client } = await connecting.catch(() => ({ client: undefined }));
    if (client !== undefined) await endOf(client);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.rest();
  }

  #drop(connecting: Promise<MonitorConnection>): void {
    if (this.#connection === connecting) this.#connection = undefined;
    connecting.then(
      ({ client }) => cut(client),
      () => undefined,
    );
  }
}

/** After a stall of this process its timers come before the answer that is there already: it is read first. */
export async function within<T>(timeoutMs: number, answer: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const giveUp = (): void => reject(new Error(`timeout expired: no answer within ${timeoutMs} ms`));
  const timer = setTimeout(() => setImmediate(giveUp), timeoutMs);
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

const goodbyeMs = 500;

/** A frozen server never answers the farewell; then the connection is cut. */
async function endOf(client: pg.Client): Promise<void> {
  const timer = setTimeout(() => cut(client), goodbyeMs);
  await client.end().catch(() => undefined);
  clearTimeout(timer);
}

function cut(client: pg.Client): void {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}

/** Errors of PostgreSQL that do not end the connection: class 57P, 08 and 53 may. */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false;
  const code = String(error.code);
  return /^[0-9A-Z]{5}$/.test(code) && !/^(57P|08|53|XX)/.test(code);
}
