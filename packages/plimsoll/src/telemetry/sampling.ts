import { currentContext } from '../kernel/context.ts';
import { traceDecisions } from '../kernel/channels.ts';
import { calledBy, spanIdOf, traceIdOf, type TraceRoot } from '../kernel/trace.ts';

/**
 * Whether a trace is sampled: as the caller outside has decided, else by the trace id, so that every process
 * that shares the ratio decides alike about the request, its events and its jobs.
 */
export function isSampled(root: TraceRoot, ratio: number): boolean {
  root.sampled ??= calledBy(root)?.sampled ?? root.share < ratio;
  return root.sampled;
}

/**
 * The `traceparent` header for a call that the running handler makes to the outside; `undefined` outside of
 * any request, job or delivery.
 */
export function traceparent(): string | undefined {
  const span = currentContext()?.span;
  if (span === undefined) return undefined;
  if (span.root.sampled === undefined) traceDecisions.publish({ root: span.root });
  const sampled = span.root.sampled ?? calledBy(span.root)?.sampled ?? false;
  return `00-${traceIdOf(span.root)}-${spanIdOf(span)}-${sampled ? '01' : '00'}`;
}
