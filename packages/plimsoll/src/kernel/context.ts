import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { systemClock, type Clock } from './clock.ts';
import { PlimsollError } from './errors.ts';
import { childSpan, rootSpan, type SpanNode } from './trace.ts';

/** Who asks. Part of the context on every hop. */
export interface Caller {
  readonly principal?: string;
  readonly tenant?: string;
  /** The W3C header of the outside request, so that what it set off stays in its trace. */
  readonly traceparent?: string;
}

/** What travels with a request through calls, events and jobs. */
export interface RequestContext {
  /** One id for everything that one outside request set off. */
  readonly correlationId: string;
  /** The event or job that set this work off; absent for an outside request. */
  readonly causationId?: string;
  /** Stable across retries of the same piece of work; the idempotency key to pass to the outside. */
  readonly key: string;
  /** On the monotonic clock; absent means no deadline. */
  readonly deadlineAtMs?: number;
  /** Aborts when the caller goes away. */
  readonly signal?: AbortSignal;
  readonly caller: Caller;
  /** Slot of the causality token: what this client has seen. Shared by all hops of one request. */
  readonly seen: { token?: string };
  /** Set under a command: its decisions must not rest on a replica that lags, so its queries read the primary. */
  readonly strong?: boolean;
  /** Operations from the outermost to the running one. */
  readonly path: readonly string[];
  /** The place of this work in its trace. */
  readonly span: SpanNode;
}

const storage = new AsyncLocalStorage<RequestContext>();

export function currentContext(): RequestContext | undefined {
  return storage.getStore();
}

export function runInContext<T>(context: RequestContext, fn: () => T): T {
  return storage.run(context, fn);
}

/** A context for work that nobody's context covers, such as an outside request or a script. */
export function createContext(given: Partial<RequestContext> = {}): RequestContext {
  const correlationId = given.correlationId ?? randomUUID();
  return {
    correlationId,
    span: given.span ?? rootSpan(correlationId, given.caller?.traceparent),
    key: given.key ?? randomUUID(),
    caller: given.caller ?? {},
    seen: given.seen ?? {},
    path: given.path ?? [],
    ...(given.causationId === undefined ? {} : { causationId: given.causationId }),
    ...(given.deadlineAtMs === undefined ? {} : { deadlineAtMs: given.deadlineAtMs }),
    ...(given.signal === undefined ? {} : { signal: given.signal }),
    ...(given.strong === undefined ? {} : { strong: given.strong }),
  };
}

/** The context of a hop: the operation joins the path, and the deadline can only come closer. */
export function enterOperation(
  parent: RequestContext,
  operation: string,
  timeoutMs: number | undefined,
  clock: Clock = systemClock,
): RequestContext {
  const own = timeoutMs === undefined ? Infinity : clock.monotonicMs() + timeoutMs;
  const deadlineAtMs = Math.min(own, parent.deadlineAtMs ?? Infinity);
  return {
    ...parent,
    path: [...parent.path, operation],
    span: childSpan(parent.span),
    ...(deadlineAtMs === Infinity ? {} : { deadlineAtMs }),
  };
}

/** Milliseconds left, at least 0; `Infinity` without a deadline. */
export function remainingMs(context: RequestContext, clock: Clock = systemClock): number {
  if (context.deadlineAtMs === undefined) return Infinity;
  return Math.max(0, context.deadlineAtMs - clock.monotonicMs());
}

/** Throws PL_ABORTED when the caller has gone, PL_DEADLINE when the time is up. */
export function assertAlive(context: RequestContext, what: string, clock: Clock = systemClock): void {
  const ended = endOf(context, what, clock);
  if (ended !== undefined) throw ended;
}

/** Why nobody waits for `what` any more: PL_ABORTED or PL_DEADLINE. Undefined while somebody does. */
export function endOf(
  context: RequestContext,
  what: string,
  clock: Clock = systemClock,
): PlimsollError | undefined {
  if (context.signal?.aborted === true) {
    return new PlimsollError('PL_ABORTED', `${what}: the caller went away`, { cause: context.signal.reason });
  }
  if (remainingMs(context, clock) > 0) return undefined;
  return new PlimsollError(
    'PL_DEADLINE',
    `${what}: the deadline of ${context.path[0] ?? 'the request'} has passed`,
    { data: { path: context.path } },
  );
}
