import pg from 'pg';
import { systemClock } from '../kernel/clock.ts';

/** How long the server may take to hear of the cancellation, and then to end the statement. */
const patienceMs = 1_000;

/** A request that arrives before the server has begun the statement is lost, so it is repeated. */
const againMs = 100;

/** What `pg` holds and its types leave out. */
interface Cancellable {
  readonly host: string;
  readonly port: number;
  readonly ssl?: unknown;
  readonly processID: number | null;
  readonly secretKey: number | null;
  readonly connection: { readonly stream: { destroy(error?: Error): void } };
}
interface CancelConnection extends NodeJS.EventEmitter {
  readonly stream: { destroy(): void };
  connect(portOrPath: number | string, host?: string): void;
  requestSsl(): void;
  cancel(processID: number, secretKey: number): void;
}

/**
 * Ends the statement that runs on the client: asks the server to cancel it, and cuts the connection when the
 * server does not hear or does not obey. Resolves when the connection may carry its next statement: a
 * request to cancel that is still on its way would hit that one.
 */
export async function cancelRunning(client: pg.ClientBase, running: Promise<unknown>): Promise<void> {
  const settled = running.then(
    () => true,
    () => true,
  );
  const cancellable = client as unknown as Cancellable;
  const giveUpAtMs = systemClock.monotonicMs() + patienceMs;
  do {
    const heard = await requestCancel(cancellable).then(
      () => true,
      () => false,
    );
    if (!heard) break;
    const waited = new AbortController();
    const stillRuns = systemClock.sleep(againMs, waited.signal).then(() => false);
    const obeyed = await Promise.race([settled, stillRuns]);
    waited.abort();
    if (obeyed) return;
  } while (systemClock.monotonicMs() < giveUpAtMs);
  cancellable.connection.stream.destroy(
    new Error('Connection terminated: its statement could not be cancelled'),
  );
  await settled;
}

/**
 * CancelRequest of the wire protocol, on a connection of its own: needs no free connection slot and no
 * password, and works through a pooler. The server closes the connection when it has passed the request on.
 */
function requestCancel({ host, port, ssl, processID, secretKey }: Cancellable): Promise<void> {
  if (processID === null || secretKey === null) return Promise.reject(new Error('no cancellation key'));
  const connection = new pg.Connection({ ssl } as object) as unknown as CancelConnection;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const send = (): void => connection.cancel(processID, secretKey);
  connection.on('connect', () => (ssl ? connection.requestSsl() : send()));
  connection.on('sslconnect', send);
  connection.on('error', reject);
  connection.on('end', () => resolve());
  const giveUp = setTimeout(() => {
    connection.stream.destroy();
    reject(new Error('no answer to the request to cancel'));
  }, patienceMs);
  if (host.startsWith('/')) connection.connect(`${host}/.s.PGSQL.${port}`);
  else connection.connect(port, host);
  return promise.finally(() => clearTimeout(giveUp));
}
