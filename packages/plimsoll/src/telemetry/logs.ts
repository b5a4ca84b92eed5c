import { pino, type DestinationStream, type Logger } from 'pino';
import { background, breakers, httpRequests, operations, sagas, tasks } from '../kernel/channels.ts';
import { traceIdOf, type SpanNode } from '../kernel/trace.ts';
import { isOf } from './own-messages.ts';

export type { Logger } from 'pino';

export interface LoggerOptions {
  readonly name: string;
  /** Default `info`. */
  readonly level?: string;
  /** Where the lines go. Default standard output. */
  readonly destination?: DestinationStream;
}

/**
 * One JSON line for each event worth reading; `correlationId` ties the lines of one request together. On
 * standard output lines appear within half a second; the last half second is lost when the process is killed.
 */
export function createLogger({ name, level = 'info', destination }: LoggerOptions): Logger {
  return pino({ name, level, base: { pid: process.pid } }, destination ?? (standard ??= standardOutput()));
}

/** Characters that are gathered before they are written. */
const maxGathered = 16_384;
const flushMs = 500;
// One for the process, made with the first logger.
let standard: DestinationStream | undefined;

/**
 * Gathers lines: a line at a time would cost each request a system call, and the measuring of its length in bytes,
 * which takes longer than making the line. What is left is written when the process exits.
 */
function standardOutput(): DestinationStream {
  const output = pino.destination({ dest: 1, sync: false });
  let gathered = '';
  let timer: NodeJS.Timeout | undefined;

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    if (gathered !== '') output.write(gathered);
    gathered = '';
  }

  process.once('exit', () => {
    flush();
    output.flushSync();
  });
  return {
    write(line) {
      gathered += line;
      if (gathered.length >= maxGathered) flush();
      else timer ??= setTimeout(flush, flushMs).unref();
    },
  };
}

/**
 * Writes what the channels of one app tell: requests, operations, finished tasks and sagas at `info` or `debug`,
 * refused requests and retries at `warn`, failures, parked tasks and background trouble at `error`. Returns
 * the function that stops it.
 */
export function logChannels(scope: object, logger: Logger, parts: readonly object[] = []): () => void {
  const isOwn = isOf(scope, parts);
  const subscriptions = [
    httpRequests.subscribe((message) => {
      if (!isOwn(message)) return;
      const { method, route, status, error } = message;
      const level = status >= 500 ? (status === 503 ? 'warn' : 'error') : 'info';
      logger[level](
        {
          ...ids(message),
          method,
          route,
          status,
          durationMs: round(message.durationMs),
          ...withError(error),
        },
        'request',
      );
    }),
    operations.subscribe((message) => {
      if (!isOwn(message) || !logger.isLevelEnabled('debug')) return;
      const { operation, outcome, span } = message;
      const { correlationId } = span.root;
      logger.debug(
        { ...ids({ correlationId, span }), operation, outcome, durationMs: round(message.durationMs) },
        'operation',
      );
    }),
    tasks.subscribe((message) => {
      if (!isOwn(message)) return;
      const { name, kind, outcome, attempt, error } = message;
      const level =
        outcome === 'parked' ? 'error' : outcome === 'retry' || outcome === 'lost' ? 'warn' : 'info';
      logger[level](
        {
          ...ids(message),
          task: name,
          kind,
          outcome,
          attempt,
          durationMs: round(message.durationMs),
          lagMs: round(message.lagMs),
          ...withError(error),
        },
        'task',
      );
    }),
    sagas.subscribe((message) => {
      if (!isOwn(message)) return;
      const { id, version, state, ageMs, error } = message;
      // One that is stuck has told so in the background.
      const level = state === 'done' || state === 'compensated' ? 'info' : 'warn';
      logger[level](
        { ...ids(message), saga: id, version, state, ageMs: round(ageMs), ...withError(error) },
        'saga',
      );
    }),
    breakers.subscribe((message) => {
      if (!isOwn(message)) return;
      const { name, from, to, reason } = message;
      logger[to === 'open' ? 'warn' : 'info']({ breaker: name, from, to, reason }, 'breaker');
    }),
    background.subscribe((message) => {
      if (!isOwn(message)) return;
      logger.error({ what: message.what, err: message.error }, 'background');
    }),
  ];
  return () => {
    for (const unsubscribe of subscriptions) unsubscribe();
  };
}

/** The trace only where it is kept: an id that leads nowhere costs time to look up. */
function ids({
  correlationId,
  span,
}: {
  readonly correlationId: string;
  readonly span?: SpanNode | undefined;
}): {
  readonly correlationId: string;
  readonly traceId?: string;
} {
  return span?.root.sampled === true ? { correlationId, traceId: traceIdOf(span.root) } : { correlationId };
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}

function withError(error: unknown): { readonly err?: unknown } {
  return error === undefined ? {} : { err: error };
}
