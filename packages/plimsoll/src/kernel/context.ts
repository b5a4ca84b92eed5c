import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { Cancellation } from './cancellation.ts';
import { systemClock, type Clock } from './clock.ts';
import { PlimsollError } from './errors.ts';
import type { Attempt } from './guard.ts';
import { Seen } from './seen.ts';
import { childSpan, rootSpan, type SpanNode } from './trace.ts';

/** Who asks. Part of the context on every hop. */
export interface Caller {
  readonly principal?: string;
  readonly tenant?: string;
  /** The W3C header of the outside request, so that what it set off stays in its trace. */
  readonly traceparent?: string;
}

/** What is known where a piece of work begins; the rest is made. */
export interface ContextGiven {
  readonly correlationId?: string | undefined;
  readonly causationId?: string | undefined;
  /** Of work that may come again under the same key. Default: it will not, and its key is made. */
  readonly key?: string | undefined;
  /** On the monotonic clock. */
  readonly deadlineAtMs?: number | undefined;
  /** The context is cancelled when this aborts. */
  readonly signal?: AbortSignal | undefined;
  readonly cancellation?: Cancellation | undefined;
  readonly caller?: Caller | undefined;
  /** A function is asked when it is first read. */
  readonly seen?: Seen | (() => Seen) | undefined;
  readonly strong?: boolean | undefined;
  readonly path?: readonly string[] | undefined;
  /** Instead of a correlation id, which its root has. */
  readonly span?: SpanNode | undefined;
}

/** How a context came to be: what is made when it is first read is made from this. */
interface Origin {
  readonly span: SpanNode;
  readonly caller: Caller;
  readonly causationId: string | undefined;
  readonly deadlineAtMs: number;
  readonly cancellation: Cancellation | undefined;
  /** Undefined under another context: then it is that one's. */
  readonly seen: Seen | (() => Seen) | undefined;
  readonly strong: boolean;
  readonly operation: string | undefined;
  readonly above: RequestContext | undefined;
  /** Undefined under another context: then the key is that one's with the suffix. */
  readonly key: string | undefined;
  readonly keySuffix: string;
  readonly keyIsStable: boolean;
  readonly path: readonly string[] | undefined;
}

const noPath: readonly string[] = [];

/**
 * What travels with a request through calls, events and jobs. Every call makes one, so what is seldom read (ids,
 * the path, a signal) is made when it is.
 */
export class RequestContext {
  /** The place of this work in its trace. */
  readonly span: SpanNode;
  readonly caller: Caller;
  /** The event or job that set this work off; undefined for an outside request. */
  readonly causationId: string | undefined;
  /** On the monotonic clock; Infinity means no deadline. */
  readonly deadlineAtMs: number;
  /** Cancelled when the caller goes away; undefined when nothing tells. */
  readonly cancellation: Cancellation | undefined;
  /** Set under a command: its decisions must not rest on a replica that lags, so its queries read the primary. */
  readonly strong: boolean;
  /** Whether this work may come again under its key; what it does is then recorded with the key. */
  readonly keyIsStable: boolean;
  /** What runs: the last of the path. */
  readonly operation: string | undefined;
  /** How often each statement ran here; kept by whoever counts them. */
  statementRuns: Map<object, number> | undefined = undefined;
  /** Set when a call made here was answered with what was recorded of an earlier one. */
  replayed = false;
  /** Calls so far, by operation; counted where keys are stable. */
  #calls: Map<string, number> | undefined = undefined;
  #seen: Seen | (() => Seen) | undefined;
  readonly #above: RequestContext | undefined;
  readonly #keySuffix: string;
  #key: string | undefined;
  #path: readonly string[] | undefined;

  /** @internal Use `createContext` and `enterOperation`. */
  constructor(origin: Origin) {
    this.span = origin.span;
    this.caller = origin.caller;
    this.causationId = origin.causationId;
    this.deadlineAtMs = origin.deadlineAtMs;
    this.cancellation = origin.cancellation;
    this.#seen = origin.seen;
    this.strong = origin.strong;
    this.operation = origin.operation;
    this.#above = origin.above;
    this.#keySuffix = origin.keySuffix;
    this.keyIsStable = origin.keyIsStable;
    this.#key = origin.key;
    this.#path = origin.path;
  }

  /** One id for everything that one outside request set off. */
  get correlationId(): string {
    return this.span.root.correlationId;
  }

  /** The causality token: what this client has seen. Shared by all hops of one request; most work of tasks needs none. */
  get seen(): Seen {
    let seen = this.#seen ?? this.#above?.seen;
    if (typeof seen !== 'object') seen = seen === undefined ? new Seen() : seen();
    this.#seen = seen;
    return seen;
  }

  /** Names this piece of work, each time it comes where the key is stable: the idempotency key to pass to the outside. */
  get key(): string {
    this.#key ??= this.#above === undefined ? randomUUID() : this.#above.key + this.#keySuffix;
    return this.#key;
  }

  /**
   * What the key of the next call to that operation has more than this one: the first has nothing, so that whoever
   * was given the key finds it. Another attempt of the same call needs a context of its own: {@link sameWork}.
   */
  nextCallSuffix(operation: string): string {
    if (!this.keyIsStable) return '';
    this.#calls ??= new Map();
    const number = (this.#calls.get(operation) ?? 0) + 1;
    this.#calls.set(operation, number);
    return number === 1 ? '' : `#${number}`;
  }

  /** Tells whoever called that the answer is that of an earlier call. */
  noteReplay(): void {
    if (this.#above !== undefined) this.#above.replayed = true;
  }

  /** Operations from the outermost to the running one. */
  get path(): readonly string[] {
    if (this.#path === undefined) {
      const above = this.#above?.path ?? noPath;
      this.#path = this.operation === undefined ? above : [...above, this.operation];
    }
    return this.#path;
  }

  /** Aborts when the caller goes away; undefined when nothing tells. */
  get signal(): AbortSignal | undefined {
    return this.cancellation?.signal;
  }
}

/** A request, or none, inside an attempt that somebody outside of it may make again. */
class InAttempt {
  readonly context: RequestContext | undefined;
  readonly attempt: Attempt;

  constructor(context: RequestContext | undefined, attempt: Attempt) {
    this.context = context;
    this.attempt = attempt;
  }
}

/** What holds where it is asked for. */
export type Surroundings = RequestContext | InAttempt | undefined;

// One for both: each storage is looked up and set on its own.
const storage = new AsyncLocalStorage<Surroundings>();

/** To be asked once and passed to the functions below, where each asking counts. */
export function surroundings(): Surroundings {
  return storage.getStore();
}

export function contextOf(around: Surroundings): RequestContext | undefined {
  return around instanceof InAttempt ? around.context : around;
}

export function currentContext(): RequestContext | undefined {
  return contextOf(storage.getStore());
}

/** The attempt that runs here and may be made again by whoever began it, outside of this. */
export function repeatedAttempt(around: Surroundings = storage.getStore()): Attempt | undefined {
  // Work that outlives its call inherits the attempt; nobody would make it again any more.
  return around instanceof InAttempt && around.attempt.repeats === true ? around.attempt : undefined;
}

export function runInContext<Given extends readonly unknown[], T>(
  context: RequestContext,
  fn: (...given: Given) => T,
  ...given: Given
): T {
  const attempt = repeatedAttempt();
  const around = attempt === undefined ? context : new InAttempt(context, attempt);
  return new AsyncResource(scopeName).runInAsyncScope(enter<Given, T>, undefined, around, fn, given);
}

/** Runs `fn` so that everything it calls, however deep, sees that the attempt may be made again. */
export function runInAttempt<Given, T>(
  attempt: Attempt,
  fn: (given: Given, attempt: Attempt) => T,
  given: Given,
  around: Surroundings = storage.getStore(),
): T {
  const inside = new InAttempt(contextOf(around), attempt);
  return new AsyncResource(scopeName).runInAsyncScope(enterAttempt<Given, T>, undefined, inside, fn, given);
}

// Not `storage.run`, which copies the frame of all storages twice, to go and to come back, in 226 ns. These copy it
// once, and the scope of the resource brings the old one back: 141 ns.
const scopeName = 'PlimsollScope';

function enter<Given extends readonly unknown[], T>(
  around: Surroundings,
  fn: (...given: Given) => T,
  given: Given,
): T {
  storage.enterWith(around);
  return fn(...given);
}

function enterAttempt<Given, T>(
  inside: InAttempt,
  fn: (given: Given, attempt: Attempt) => T,
  given: Given,
): T {
  storage.enterWith(inside);
  return fn(given, inside.attempt);
}

/** A context for work that nobody's context covers, such as an outside request or a script. */
export function createContext(given: ContextGiven = {}): RequestContext {
  const { caller = {}, path = noPath, signal } = given;
  return new RequestContext({
    span: given.span ?? rootSpan(given.correlationId, caller.traceparent),
    caller,
    causationId: given.causationId,
    deadlineAtMs: given.deadlineAtMs ?? Infinity,
    cancellation: given.cancellation ?? (signal === undefined ? undefined : Cancellation.of(signal)),
    seen: given.seen,
    strong: given.strong ?? false,
    operation: path.at(-1),
    above: undefined,
    key: given.key,
    keySuffix: '',
    keyIsStable: given.key !== undefined,
    path,
  });
}

export interface HopOptions {
  /** Whether what it reads must be current. Default as above. */
  readonly strong?: boolean;
  /** Tells the calls of one handler apart, in their keys. Default none: the same piece of work, the same key. */
  readonly keySuffix?: string;
  readonly clock?: Clock;
}

/** The context of a hop: the operation joins the path, and the deadline can only come closer. */
export function enterOperation(
  above: RequestContext,
  operation: string,
  timeoutMs: number | undefined,
  { strong = above.strong, keySuffix = '', clock = systemClock }: HopOptions = {},
): RequestContext {
  const { causationId, caller, cancellation, deadlineAtMs } = above;
  return new RequestContext({
    span: childSpan(above.span),
    caller,
    causationId,
    deadlineAtMs:
      timeoutMs === undefined ? deadlineAtMs : Math.min(deadlineAtMs, clock.monotonicMs() + timeoutMs),
    cancellation,
    seen: undefined,
    strong,
    operation,
    above,
    key: undefined,
    keySuffix,
    keyIsStable: above.keyIsStable,
    path: undefined,
  });
}

/** The same work, once it is known who asks for it. */
export function withCaller(context: RequestContext, caller: Caller): RequestContext {
  return sameWork(context, '', { ...context.caller, ...caller });
}

/** The same work, or the part of it that the suffix names, begun again: its calls are numbered from the first on. */
export function sameWork(
  context: RequestContext,
  keySuffix = '',
  caller: Caller = context.caller,
): RequestContext {
  const { span, causationId, deadlineAtMs, cancellation, strong, operation, keyIsStable } = context;
  return new RequestContext({
    span,
    caller,
    causationId,
    deadlineAtMs,
    cancellation,
    seen: undefined,
    strong,
    operation,
    above: context,
    key: undefined,
    keySuffix,
    keyIsStable,
    path: context.path,
  });
}

/** Milliseconds left, at least 0; `Infinity` without a deadline. */
export function remainingMs({ deadlineAtMs }: RequestContext, clock: Clock = systemClock): number {
  return deadlineAtMs === Infinity ? Infinity : Math.max(0, deadlineAtMs - clock.monotonicMs());
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
  if (context.cancellation?.cancelled === true) {
    return new PlimsollError('PL_ABORTED', `${what}: the caller went away`, {
      cause: context.cancellation.reason,
    });
  }
  if (remainingMs(context, clock) > 0) return undefined;
  return new PlimsollError(
    'PL_DEADLINE',
    `${what}: the deadline of ${context.path[0] ?? 'the request'} has passed`,
    { data: { path: context.path } },
  );
}
