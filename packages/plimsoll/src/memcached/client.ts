import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import { Connection } from './connection.ts';

export interface MemcachedClientOptions {
  /** Default `127.0.0.1`. */
  readonly host?: string;
  /** Default 11211. */
  readonly port?: number;
  /** How long to wait for a connection, and for an answer before the connection is given up. Default 1_000. */
  readonly timeoutMs?: number;
  /** Makes a socket in place of `host` and `port`: TLS, or a path. It may still be connecting. */
  readonly connect?: () => Socket;
}

export const memcachedClientDefaults = { host: '127.0.0.1', port: 11_211, timeoutMs: 1_000 } as const;

type Settings = Required<Omit<MemcachedClientOptions, 'connect'>> & Pick<MemcachedClientOptions, 'connect'>;

/** How long after a connection failed the next one is tried. */
const pauseMs = 50;

/**
 * One server and one connection, made when it is first asked and again after it was lost; commands of all callers are
 * in flight on it together.
 *
 * It speaks the meta text protocol of Memcached 1.6, which the fences of the cache need: ids for compare-and-set and
 * the seconds that are left together with the value, several keys in one round trip. `memjs` knows the binary protocol,
 * which Memcached has deprecated, and neither compare-and-set nor several keys; `memcache` has `gets` and `cas`, and
 * neither tells the seconds that are left.
 */
export interface MemcachedClient extends AsyncDisposable {
  /** Rejects what is under way; nothing may be asked any more. */
  close(): Promise<void>;
}

/** Throws PL_CONFIG when an option is not valid, naming every problem. Connects when it is first asked. */
export function createMemcachedClient(options: MemcachedClientOptions = {}): MemcachedClient {
  const { port, timeoutMs } = { ...memcachedClientDefaults, ...options };
  const problems: Problem[] = [];
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    problems.push({ path: 'port', message: `is ${port}; give a whole number from 1 to 65535` });
  if (!(timeoutMs > 0 && timeoutMs < 2 ** 31))
    problems.push({ path: 'timeoutMs', message: `is ${timeoutMs}; give milliseconds above 0` });
  throwIfProblems('the Memcached client', problems);
  return new SocketClient(options);
}

export class SocketClient implements MemcachedClient {
  readonly #options: Settings;
  // The one that is used, or is being made.
  #connection: Promise<Connection> | undefined = undefined;
  #open: Connection | undefined = undefined;
  #notBeforeMs = 0;
  #failure = new Error('the Memcached client was closed');
  #closed = false;

  constructor(options: MemcachedClientOptions) {
    this.#options = { ...memcachedClientDefaults, ...options };
  }

  /** What is read with compare-and-set ids has to be written on the same one: another server counts anew. */
  connection(): Promise<Connection> {
    if (this.#open?.isOpen === true) return Promise.resolve(this.#open);
    if (this.#closed || performance.now() < this.#notBeforeMs) return Promise.reject(this.#failure);
    this.#open = undefined;
    return (this.#connection ??= this.#connect().finally(() => {
      this.#connection = undefined;
    }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#failure = new Error('the Memcached client was closed');
    this.#open?.end(this.#failure);
    await this.#connection?.then(
      (connection) => connection.end(this.#failure),
      () => undefined,
    );
  }

  [Symbol.asyncDispose] = (): Promise<void> => this.close();

  async #connect(): Promise<Connection> {
    const { host, port, timeoutMs } = this.#options;
    const socket = this.#options.connect?.() ?? connect({ host, port });
    try {
      if (socket.connecting) await once(socket, 'connect', { signal: AbortSignal.timeout(timeoutMs) });
      socket.setNoDelay(true);
      this.#open = new Connection(socket, timeoutMs);
      return this.#open;
    } catch (error) {
      socket.destroy();
      this.#notBeforeMs = performance.now() + pauseMs;
      this.#failure = new Error(`no connection to Memcached at ${host}:${port}`, { cause: error });
      throw this.#failure;
    }
  }
}
