import { channel } from 'node:diagnostics_channel';
import type { SpanNode, TraceRoot } from './trace.ts';

/**
 * Everything Plimsoll tells about itself goes through these `node:diagnostics_channel` channels; telemetry
 * and logs only subscribe. `scope` is the app (or whatever object was given to `createDatabase` and others),
 * so two apps in one process stay apart.
 */
export interface HttpRequestMessage {
  readonly scope: object;
  readonly method: string;
  /** The route pattern, never the raw path; `(unmatched)` when no route answered. */
  readonly route: string;
  readonly operation: string | undefined;
  readonly status: number;
  readonly durationMs: number;
  readonly correlationId: string;
  /** Its place in the trace, above those of its operations. */
  readonly span?: SpanNode | undefined;
  readonly error?: unknown;
}
export interface OperationMessage {
  readonly scope: object;
  readonly operation: string;
  readonly kind: 'command' | 'query' | 'subscription';
  /** `failed` is a declared error, `error` a thrown one. */
  readonly outcome: 'ok' | 'failed' | 'error';
  readonly durationMs: number;
  /** Its own place in the trace, whose root has the correlation id. */
  readonly span: SpanNode;
  readonly error?: unknown;
}
/** Published in the context of the operation that runs it. */
export interface QueryMessage {
  readonly scope: object;
  readonly server: string;
  /** SQL with placeholders; never the values. */
  readonly text: string;
  readonly durationMs: number;
  readonly rows: number;
  readonly operation: string | undefined;
  /** Why it went to this server; undefined for what is not routed. */
  readonly route?: RouteReason | undefined;
  readonly error?: unknown;
}
/**
 * Why a read went where it went. To a replica: `intent` asked for nothing that it could lack, `token` it has what its
 * reader has seen, `tx` a snapshot, `conflict` another server failed first. To the primary: `intent` asked for it,
 * `token` no replica has what its reader has seen, `lag` they are too late, `epoch` its reader saw another history,
 * `unknown` its reader's last commit has no position, `window` its reader wrote a moment ago, `no_replica` none is well, `conflict` a replica failed first,
 * `tx` a snapshot that no replica can serve. `budget`: refused, as much falls back to the primary as may.
 */
export type RouteReason =
  | 'intent'
  | 'tx'
  | 'token'
  | 'lag'
  | 'epoch'
  | 'unknown'
  | 'window'
  | 'no_replica'
  | 'budget'
  | 'conflict';
/** Where one read went. Published in the context of the operation that reads. */
export interface RouteMessage {
  readonly scope: object;
  readonly role: 'replica' | 'primary' | 'refused';
  /** `replica-1`, `primary-reads`. */
  readonly server: string;
  readonly reason: RouteReason;
  /** `session`, `eventual`, … as asked for. */
  readonly consistency: string;
  /** For a replica to reach a position, and for a place among those that fall back. */
  readonly waitedMs: number;
  readonly operation: string | undefined;
}
/** Published in the context of the operation that waits. */
export interface PoolWaitMessage {
  readonly scope: object;
  readonly server: string;
  readonly waitMs: number;
  readonly inUse: number;
  readonly max: number;
  readonly waiting: number;
  readonly error?: unknown;
}
export interface TaskMessage {
  readonly scope: object;
  readonly name: string;
  readonly kind: 'job' | 'delivery' | 'saga';
  readonly outcome: 'done' | 'retry' | 'snoozed' | 'cancelled' | 'parked' | 'lost';
  readonly attempt: number;
  readonly durationMs: number;
  /** From when it was due to when it started. */
  readonly lagMs: number;
  readonly correlationId: string;
  /** Its place in the trace, above that of its operation. */
  readonly span?: SpanNode | undefined;
  readonly error?: unknown;
}
/** A saga came to an end, or began to go back. */
export interface SagaMessage {
  readonly scope: object;
  /** `orders.checkout`. */
  readonly name: string;
  readonly id: string;
  readonly version: number;
  readonly state: 'done' | 'compensating' | 'compensated' | 'stuck';
  /** Since it was started. */
  readonly ageMs: number;
  readonly correlationId: string;
  readonly error?: unknown;
}
/** One attempt of a request to another server. Published in the context of the operation that makes it. */
export interface HttpClientRequestMessage {
  readonly scope: object;
  /** Of the client: `bank`. */
  readonly name: string;
  readonly method: string;
  /** Without port. */
  readonly address: string;
  /** The path without values; `(url)` for a request that was given a whole URL. */
  readonly template: string;
  /** Undefined when no whole answer came; then there is an error. */
  readonly status: number | undefined;
  /** From the wait for a connection to the last byte of the answer. */
  readonly durationMs: number;
  /** 1 is the first. */
  readonly attempt: number;
  /** Its code: `ECONNREFUSED`, `PL_TIMEOUT`. */
  readonly errorType: string | undefined;
}
/** A breaker went from one state to another. */
export interface BreakerMessage {
  readonly scope: object;
  readonly name: string;
  readonly from: BreakerState;
  readonly to: BreakerState;
  /** `failure ratio 0.6 of 50 calls`, `tripped by hand`. */
  readonly reason: string;
}
export type BreakerState = 'closed' | 'open' | 'half-open';
/** A call that never reached what it was for. */
export interface RefusalMessage {
  readonly scope: object;
  readonly policy: 'breaker' | 'bulkhead' | 'queue' | 'limit' | 'shed' | 'rate-limit' | 'retry-budget';
  readonly name: string;
  readonly reason: string;
}
/** A call is made again, or beside the first one. */
export interface RetryMessage {
  readonly scope: object;
  readonly name: string;
  readonly kind: 'retry' | 'hedge';
  /** 1 is the first call; this is the one to come. */
  readonly attempt: number;
  readonly delayMs: number;
  readonly error?: unknown;
}
/** One question to a cache, and who answered it. */
export interface CacheReadMessage {
  readonly scope: object;
  readonly name: string;
  /** `loader` when nothing that was kept would do. */
  readonly tier: 'memo' | 'process' | 'shared' | 'loader';
  /** `stale` was answered though it was no longer fresh; `error`: it could not be loaded, and there was nothing else. */
  readonly outcome: 'hit' | 'stale' | 'loaded' | 'error';
  /** Until it was answered; 0 for what was kept in the process. */
  readonly durationMs: number;
}
/** One call to the store of what clients have seen. */
export interface SeenStoreMessage {
  readonly scope: object;
  readonly call: 'read' | 'merge';
  /** `failed`: no answer in time; `skipped`: not asked, as it was away. */
  readonly outcome: 'ok' | 'failed' | 'skipped';
  readonly durationMs: number;
}
/** Work under an idempotency key that was not done, and why. */
export interface IdempotencyMessage {
  readonly scope: object;
  /** `orders.place`, `POST /orders`. */
  readonly work: string;
  /** `replayed`: answered as before. `reused`: the key is known with another input. */
  readonly outcome: 'replayed' | 'busy' | 'reused' | 'not-kept';
}
/** Something went wrong in the background, where no caller can be told. */
export interface BackgroundMessage {
  readonly scope: object;
  readonly what: string;
  readonly error: unknown;
}
/** Asks whoever traces to decide now whether this trace is sampled. */
export interface TraceDecisionMessage {
  readonly root: TraceRoot;
}

/** A diagnostics channel whose messages have one type. */
export interface MessageChannel<Message> {
  /** Check before building a message: without subscribers telemetry costs nothing. */
  readonly hasSubscribers: boolean;
  publish(message: Message): void;
  /** Returns the function that unsubscribes. */
  subscribe(listener: (message: Message) => void): () => void;
}

function messageChannel<Message>(name: string): MessageChannel<Message> {
  const underlying = channel(name);
  return {
    get hasSubscribers() {
      return underlying.hasSubscribers;
    },
    publish: (message) => underlying.publish(message),
    subscribe(listener) {
      const onMessage = (message: unknown): void => listener(message as Message);
      underlying.subscribe(onMessage);
      return () => {
        underlying.unsubscribe(onMessage);
      };
    },
  };
}

export const httpRequests: MessageChannel<HttpRequestMessage> = messageChannel('plimsoll:http.request');
export const operations: MessageChannel<OperationMessage> = messageChannel('plimsoll:operation');
export const queries: MessageChannel<QueryMessage> = messageChannel('plimsoll:database.query');
export const routes: MessageChannel<RouteMessage> = messageChannel('plimsoll:database.route');
export const poolWaits: MessageChannel<PoolWaitMessage> = messageChannel('plimsoll:database.pool.wait');
export const httpClientRequests: MessageChannel<HttpClientRequestMessage> = messageChannel(
  'plimsoll:http.client.request',
);
export const tasks: MessageChannel<TaskMessage> = messageChannel('plimsoll:task');
export const sagas: MessageChannel<SagaMessage> = messageChannel('plimsoll:saga');
export const cacheReads: MessageChannel<CacheReadMessage> = messageChannel('plimsoll:cache.read');
export const seenStores: MessageChannel<SeenStoreMessage> = messageChannel('plimsoll:seen.store');
export const idempotency: MessageChannel<IdempotencyMessage> = messageChannel('plimsoll:idempotency');
export const background: MessageChannel<BackgroundMessage> = messageChannel('plimsoll:background.error');
export const breakers: MessageChannel<BreakerMessage> = messageChannel('plimsoll:breaker');
export const refusals: MessageChannel<RefusalMessage> = messageChannel('plimsoll:refusal');
export const retries: MessageChannel<RetryMessage> = messageChannel('plimsoll:retry');
export const traceDecisions: MessageChannel<TraceDecisionMessage> = messageChannel('plimsoll:trace.decision');
