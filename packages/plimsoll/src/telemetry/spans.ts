import {
  httpRequests,
  operations,
  poolWaits,
  queries,
  tasks,
  traceDecisions,
  type MessageChannel,
} from '../kernel/channels.ts';
import { currentContext } from '../kernel/context.ts';
import { calledBy, childSpan, rootSpan, spanIdOf, traceIdOf, type SpanNode } from '../kernel/trace.ts';
import type { Attributes } from './metrics.ts';
import { isSampled } from './sampling.ts';
import { Newest, type SlowRequest, type Span } from './span.ts';
import { beginningOf, statementVerb } from './statement-text.ts';

export interface SpanOptions {
  /** Share of traces that are sampled, unless the caller outside has decided. Default 0.1. */
  readonly sampleRatio?: number;
  /** A request that took longer is kept as slow. Default 500. */
  readonly slowMs?: number;
  /** A wait for a connection that took longer becomes a span. Default 1. */
  readonly poolWaitMs?: number;
}

export const spanDefaults = { sampleRatio: 0.1, slowMs: 500, poolWaitMs: 1 } as const;

// A getter; read once.
const { timeOrigin } = performance;
const maxRecent = 2_000;
const maxSlow = 50;

export interface SpanRecorder {
  /** Oldest first. */
  recent(): readonly Span[];
  slow(): readonly SlowRequest[];
  readonly recorded: number;
  stop(): void;
}

/**
 * Makes spans of what the channels of one app tell. The decision is taken once for each trace; of work that is
 * not sampled, each message costs the look at that decision.
 */
export function recordSpans(
  scope: object,
  options: SpanOptions = {},
  onSpan: (span: Span) => void = () => undefined,
): SpanRecorder {
  const { sampleRatio, slowMs, poolWaitMs } = { ...spanDefaults, ...options };
  const recent = new Newest<Span>(maxRecent);
  const slow = new Newest<SlowRequest>(maxSlow);
  let recorded = 0;

  /** Every message tells of an end, so the beginning follows from the duration. */
  function spanOf(
    node: SpanNode,
    parentSpanId: string | undefined,
    name: string,
    kind: Span['kind'],
    durationMs: number,
    attributes: Attributes,
    error: string | undefined,
  ): Span {
    return {
      traceId: traceIdOf(node.root),
      spanId: spanIdOf(node),
      ...(parentSpanId === undefined ? {} : { parentSpanId }),
      name,
      kind,
      startMs: timeOrigin + performance.now() - durationMs,
      durationMs,
      attributes,
      ...(error === undefined ? {} : { error }),
    };
  }

  function keep(span: Span): void {
    recorded += 1;
    recent.add(span);
    onSpan(span);
  }

  /** The operation, request or task above. */
  function parentOf(node: SpanNode): string | undefined {
    return node.parent === undefined ? undefined : spanIdOf(node.parent);
  }

  const own = <Message extends { readonly scope: object }>(
    channel: MessageChannel<Message>,
    listener: (message: Message) => void,
  ): (() => void) =>
    channel.subscribe((message) => {
      if (message.scope === scope) listener(message);
    });

  const subscriptions = [
    traceDecisions.subscribe(({ root }) => void isSampled(root, sampleRatio)),
    own(httpRequests, (message) => {
      const node = message.span ?? rootSpan(message.correlationId);
      const sampled = isSampled(node.root, sampleRatio);
      const isSlow = message.durationMs >= slowMs;
      if (!sampled && !isSlow) return;
      const { method, route, status, operation, correlationId } = message;
      const request = spanOf(
        node,
        calledBy(node.root)?.spanId,
        `${method} ${route}`,
        'server',
        message.durationMs,
        {
          'http.request.method': method,
          'http.route': route,
          'http.response.status_code': status,
          'plimsoll.correlation_id': correlationId,
          ...(operation === undefined ? {} : { 'plimsoll.operation': operation }),
        },
        // By the conventions a client's mistake is no error of the server's span.
        status >= 500 ? describe(message.error, `status ${status}`) : undefined,
      );
      if (sampled) keep(request);
      if (!isSlow) return;
      const spans = sampled ? recent.list().filter(({ traceId }) => traceId === request.traceId) : [];
      slow.add({ request, sampled, spans });
    }),
    own(operations, (message) => {
      const { span: node, operation, kind, outcome } = message;
      if (!isSampled(node.root, sampleRatio)) return;
      const attributes = {
        'plimsoll.operation': operation,
        'plimsoll.operation.kind': kind,
        'plimsoll.outcome': outcome,
        'plimsoll.correlation_id': node.root.correlationId,
      };
      const error = outcome === 'error' ? describe(message.error, 'error') : undefined;
      keep(spanOf(node, parentOf(node), operation, 'internal', message.durationMs, attributes, error));
    }),
    own(queries, (message) => {
      const parent = currentContext()?.span;
      if (parent === undefined || !isSampled(parent.root, sampleRatio)) return;
      const verb = statementVerb(message.text);
      const attributes = {
        'db.system.name': 'postgresql',
        'db.operation.name': verb,
        'db.query.text': beginningOf(message.text),
        'db.response.returned_rows': message.rows,
        server: message.server,
        ...(message.route === undefined ? {} : { 'plimsoll.route.reason': message.route }),
      };
      const node = childSpan(parent);
      const error = message.error === undefined ? undefined : describe(message.error, 'error');
      keep(spanOf(node, spanIdOf(parent), verb, 'client', message.durationMs, attributes, error));
    }),
    own(poolWaits, (message) => {
      if (message.waitMs < poolWaitMs && message.error === undefined) return;
      const parent = currentContext()?.span;
      if (parent === undefined || !isSampled(parent.root, sampleRatio)) return;
      const { server, inUse, max, waiting } = message;
      const attributes = {
        'db.client.connection.pool.name': server,
        'plimsoll.pool.in_use': inUse,
        'plimsoll.pool.max': max,
        'plimsoll.pool.waiting': waiting,
      };
      const node = childSpan(parent);
      const error = message.error === undefined ? undefined : describe(message.error, 'error');
      keep(
        spanOf(node, spanIdOf(parent), `wait for ${server}`, 'internal', message.waitMs, attributes, error),
      );
    }),
    own(tasks, (message) => {
      const { name, kind, outcome, attempt, lagMs, correlationId } = message;
      const node = message.span ?? rootSpan(correlationId);
      if (!isSampled(node.root, sampleRatio)) return;
      const attributes = {
        'plimsoll.task': name,
        'plimsoll.task.kind': kind,
        'plimsoll.task.outcome': outcome,
        'plimsoll.task.attempt': attempt,
        'plimsoll.task.lag_ms': Math.round(lagMs * 1_000) / 1_000,
        'plimsoll.correlation_id': correlationId,
      };
      const error = outcome === 'done' ? undefined : describe(message.error, outcome);
      keep(
        spanOf(
          node,
          calledBy(node.root)?.spanId,
          `${kind} ${name}`,
          'consumer',
          message.durationMs,
          attributes,
          error,
        ),
      );
    }),
  ];

  return {
    recent: () => recent.list(),
    slow: () => slow.list(),
    get recorded() {
      return recorded;
    },
    stop() {
      for (const unsubscribe of subscriptions) unsubscribe();
    },
  };
}

function describe(error: unknown, otherwise: string): string {
  if (!(error instanceof Error)) return otherwise;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  return `${code}: ${error.message}`.slice(0, 500);
}
