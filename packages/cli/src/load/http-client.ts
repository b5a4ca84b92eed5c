import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import type { PlannedRequest } from './scenario.ts';

export type Answer =
  /** `saysWhen`: it has `Retry-After`. */
  | { readonly kind: 'response'; readonly status: number; readonly saysWhen: boolean }
  /** No complete response: refused, reset, closed half way. `detail` is the error code. */
  | { readonly kind: 'connection'; readonly detail: string };

export interface Exchange {
  /** Gives up on the answer; `onAnswer` is not called any more. */
  cancel(): void;
}

export interface LoadClient {
  /** For the requests to come, up to the pool's `maxConnections`. */
  limitConnections(count: number): void;
  send(request: PlannedRequest, onAnswer: (answer: Answer) => void): Exchange;
  destroy(): Promise<void>;
}

/**
 * HTTP/1.1 without pipelining over a pool that grows to `maxConnections`. Beyond that, requests wait here
 * rather than inside the pool, so that one whose time is up costs neither a connection nor a byte: a
 * request cancelled inside the pool would take a socket down with it when its turn comes.
 */
export function createClient(
  target: string,
  settings: { readonly maxConnections: number; readonly connectTimeoutMs: number },
): LoadClient {
  const pool = new Pool(new URL(target).origin, {
    connections: settings.maxConnections,
    pipelining: 1,
    keepAliveTimeout: 30_000,
    connectTimeout: settings.connectTimeoutMs,
    // The caller times every request itself, from its intended start.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const waiting = new Set<() => void>();
  let limit = settings.maxConnections; // set before each step
  let active = 0; // requests handed to the pool and not yet finished there

  const release = (): void => {
    active -= 1;
    for (const start of waiting) {
      if (active >= limit) return;
      waiting.delete(start);
      start();
    }
  };
  // undici reuses a connection one loop iteration after its response (client-h1 `onMessageComplete`). A
  // request given to the pool before that would open another connection instead.
  const finished = (): void => void setImmediate(() => setImmediate(release));

  return {
    limitConnections(count): void {
      limit = Math.min(count, settings.maxConnections);
    },
    send(request, onAnswer): Exchange {
      let controller: Dispatcher.DispatchController | undefined;
      let status = 0;
      let saysWhen = false;
      let cancelled = false;
      const end = (answer: Answer): void => {
        finished();
        if (!cancelled) onAnswer(answer);
      };
      const start = (): void => {
        active += 1;
        pool.dispatch(dispatchOptions(request), {
          onRequestStart(given): void {
            controller = given;
            if (cancelled) given.abort(new Error('cancelled before it was sent'));
          },
          onResponseStart(_controller, statusCode, headers): void {
            status = statusCode;
            saysWhen = headers['retry-after'] !== undefined;
          },
          // Without a consumer that pauses, the body is read to its end and dropped.
          onResponseData(): void {},
          onResponseEnd(): void {
            end({ kind: 'response', status, saysWhen });
          },
          onResponseError(_controller, error): void {
            end({ kind: 'connection', detail: errorCode(error) });
          },
        });
      };
      if (active < limit) start();
      else waiting.add(start);
      return {
        cancel(): void {
          cancelled = true;
          waiting.delete(start);
          controller?.abort(new Error('cancelled'));
        },
      };
    },
    async destroy(): Promise<void> {
      waiting.clear();
      await pool.destroy();
    },
  };
}

function dispatchOptions(request: PlannedRequest): Dispatcher.DispatchOptions {
  const { method, path, body } = request;
  if (body === undefined) return { method, path, headers: { ...request.headers } };
  return { method, path, body, headers: { 'content-type': 'application/json', ...request.headers } };
}

function errorCode(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}
