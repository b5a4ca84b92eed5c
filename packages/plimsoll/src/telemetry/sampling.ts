import { currentContext } from '../kernel/context.ts';
import { traceDecisions } from '../kernel/channels.ts';
import { calledBy, isUuid, spanIdOf, traceIdOf, type TraceRoot } from '../kernel/trace.ts';

/**
 * Whether a trace is sampled: as the caller outside has decided, else by the trace id, so that every process
 * that shares the ratio decides alike about the request, its events and its jobs.
 */
export function isSampled(root: TraceRoot, ratio: number): boolean {
  root.sampled ??= calledBy(root)?.sampled ?? shareOf(root) < ratio;
  return root.sampled;
}

/** Where the trace lies between 0 and 1, by the last digits of its id. */
function shareOf(root: TraceRoot): number {
  return Number.parseInt(lastDigits(root), 16) / 0x1_0000_0000;
}

/** Those of a UUID are the trace id's own; most traces are looked at no closer than this. */
function lastDigits(root: TraceRoot): string {
  return (isUuid(root.correlationId) ? root.correlationId : traceIdOf(root)).slice(-8);
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
