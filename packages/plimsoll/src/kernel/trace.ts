import { hash, randomUUID } from 'node:crypto';

/**
 * What is known of a trace where a piece of work begins. Its id needs no column of its own: it is that of the
 * `traceparent` an outside caller sent, which travels in the caller, or else follows from the correlation id.
 */
export class TraceRoot {
  readonly traceparent: string | undefined;
  /** Decided once, by the first tracer asked; undefined where nobody traces. */
  sampled: boolean | undefined = undefined;
  /** Worked out when first needed; see {@link traceIdOf}. */
  traceId: string | undefined = undefined;
  #correlationId: string | undefined;
  /** Whether the correlation id is a UUID of ours, and not what somebody sent. */
  readonly #isOwn: boolean;
  /** The last four bytes of an id of ours, drawn before the rest when only they are asked for. */
  #lastBytes: number | undefined = undefined;

  /** Without a correlation id it gets one of its own: a UUID, made when first read. */
  constructor(correlationId?: string, traceparent?: string) {
    this.#correlationId = correlationId;
    this.#isOwn = correlationId === undefined;
    this.traceparent = traceparent;
  }

  get correlationId(): string {
    if (this.#correlationId === undefined) {
      const made = randomUUID();
      this.#correlationId =
        this.#lastBytes === undefined
          ? made
          : made.slice(0, -8) + this.#lastBytes.toString(16).padStart(8, '0');
    }
    return this.#correlationId;
  }

  /** Where the trace lies between 0 and 1, by the last digits of its id: every process sees the same. */
  get share(): number {
    if (!this.#isOwn) return Number.parseInt(traceIdOf(this).slice(-8), 16) / 0x1_0000_0000;
    this.#lastBytes ??=
      this.#correlationId === undefined
        ? // Sampling wants an even spread, not a secret; the rest of the id makes it unique.
          Math.floor(Math.random() * 0x1_0000_0000)
        : Number.parseInt(this.#correlationId.slice(-8), 16);
    return this.#lastBytes / 0x1_0000_0000;
  }
}

/** One place in the tree of what a request sets off: the request, an operation, a task. */
export class SpanNode {
  readonly root: TraceRoot;
  readonly parent: SpanNode | undefined;
  /** Given when first needed; work that nobody traces never gets one. */
  id: string | undefined = undefined;

  constructor(root: TraceRoot, parent: SpanNode | undefined) {
    this.root = root;
    this.parent = parent;
  }
}

export interface Traceparent {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

// W3C Trace Context, level 1: version 00 is exactly this long, later ones may go on after a dash.
const pattern =
  /^(?:00|(?!00|ff)[0-9a-f]{2}(?=.{53}(?:-|$)))-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:$|-)/;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** `undefined` for one that must be ignored. */
export function parseTraceparent(text: string): Traceparent | undefined {
  if (text.length > 512 || (text.startsWith('00') && text.length !== 55)) return undefined;
  const found = pattern.exec(text);
  if (found === null) return undefined;
  const [, traceId = '', spanId = '', flags = ''] = found;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** A trace id written as a UUID, so that the correlation id and the trace id of a request are one. */
export function correlationIdOf({ traceId }: Traceparent): string {
  return traceId.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

export function rootSpan(correlationId?: string, traceparent?: string): SpanNode {
  return new SpanNode(new TraceRoot(correlationId, traceparent), undefined);
}

export function childSpan(parent: SpanNode): SpanNode {
  return new SpanNode(parent.root, parent);
}

// A claimed task is one object in the worker and in the runtime; another attempt is another object. On it, and not in a
// `WeakMap`, which each garbage collection walks.
const spanOfTask = Symbol('span');

/** The place of a claimed task: above its operation, and a root, because its cause ended before. */
export function taskSpan(task: {
  readonly correlationId: string;
  readonly caller: { readonly traceparent?: string };
  [spanOfTask]?: SpanNode;
}): SpanNode {
  return (task[spanOfTask] ??= rootSpan(task.correlationId, task.caller.traceparent));
}

/** The caller's trace; else the correlation id's digits if it is a UUID, else those of its SHA-256. */
export function traceIdOf(root: TraceRoot): string {
  root.traceId ??= calledBy(root)?.traceId ?? derivedFrom(root.correlationId);
  return root.traceId;
}

/** The caller outside, if it sent a `traceparent` that can be read. */
export function calledBy({ traceparent }: TraceRoot): Traceparent | undefined {
  return traceparent === undefined ? undefined : parseTraceparent(traceparent);
}

export function spanIdOf(node: SpanNode): string {
  node.id ??= newSpanId();
  return node.id;
}

/** The random digits of a UUID, because Node keeps a store of those: 0.2 µs against 1.6 for `randomBytes(8)`. */
function newSpanId(): string {
  const digits = randomUUID();
  const id = digits.slice(0, 8) + digits.slice(28);
  // All zeros is no span id; one in 2^64 is.
  return id === '0000000000000000' ? '0000000000000001' : id;
}

/** Of those that we make, whose digits are a trace id as they are. */
function isUuid(correlationId: string): boolean {
  return (
    correlationId.length === 36 &&
    uuid.test(correlationId) &&
    correlationId !== '00000000-0000-0000-0000-000000000000'
  );
}

function derivedFrom(correlationId: string): string {
  if (isUuid(correlationId)) return correlationId.replaceAll('-', '');
  return hash('sha256', correlationId, 'hex').slice(0, 32);
}
