import type { Attempt } from '../kernel/attempt.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { currentContext } from '../kernel/context.ts';

/**
 * The request header that says how long the caller still waits: whole milliseconds from now, as in gRPC's
 * `grpc-timeout`. Relative, because the clocks of two machines differ.
 */
export const timeoutHeader = 'x-request-timeout-ms';

export interface RemainingOptions {
  /** The attempt that sends the request, whose own limit may be shorter than what the request has left. */
  readonly attempt?: Attempt;
  /** Kept back for the way there and back, so that the callee gives up before its caller does. Default 10. */
  readonly marginMs?: number;
  readonly clock?: Clock;
}

export const remainingDefaults = { marginMs: 10 } as const;

/** As many digits as gRPC allows; more than a day. */
const mostMs = 99_999_999;

/** The header's value for a request sent now; undefined where there is no deadline to tell. Never less than 1. */
export function remainingHeader({
  attempt,
  marginMs = remainingDefaults.marginMs,
  clock = systemClock,
}: RemainingOptions = {}): string | undefined {
  const endsAtMs = Math.min(currentContext()?.deadlineAtMs ?? Infinity, attempt?.deadlineAtMs ?? Infinity);
  if (endsAtMs === Infinity) return undefined;
  const leftMs = Math.floor(endsAtMs - clock.monotonicMs() - marginMs);
  return String(Math.min(Math.max(leftMs, 1), mostMs));
}

/**
 * The milliseconds that a request's header leaves; undefined when it says nothing that can be believed: not a whole
 * number, 0 (which means "no limit" to some proxies), negative, of more than eight digits, or given twice. The
 * callee's own limit holds besides: take the lower one.
 */
export function parseRemaining(value: string | readonly string[] | undefined): number | undefined {
  if (typeof value !== 'string' || !/^\d{1,8}$/.test(value)) return undefined;
  const ms = Number(value);
  return ms === 0 ? undefined : ms;
}
