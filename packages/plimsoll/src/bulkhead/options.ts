import { systemClock, type Clock } from '../kernel/clock.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import { waitingOrders, type WaitingOrder } from '../kernel/waiting-line.ts';

export interface BulkheadOptions {
  /** What is guarded: `payments`. In errors, events and state. */
  readonly name: string;
  /** Permits: the weight that may be under way at once. */
  readonly max: number;
  /** Calls that may wait; 0: none. Default 100. */
  readonly maxWaiting?: number;
  /** Longest wait in milliseconds. Default 1000. */
  readonly maxWaitMs?: number;
  /** Who is next. Default `fifo`. */
  readonly order?: WaitingOrder;
  /** Whose events these are. Default the bulkhead. */
  readonly scope?: object;
  readonly clock?: Clock;
}

export const bulkheadDefaults = { maxWaiting: 100, maxWaitMs: 1_000, order: 'fifo' } as const;

export interface BulkheadSettings {
  readonly name: string;
  readonly max: number;
  readonly maxWaiting: number;
  readonly maxWaitMs: number;
  readonly order: WaitingOrder;
  readonly scope: object | undefined;
  readonly clock: Clock;
}

/** With the defaults; PL_CONFIG when something is not allowed. */
export function bulkheadSettings(options: BulkheadOptions): BulkheadSettings {
  const {
    name,
    max,
    maxWaiting = bulkheadDefaults.maxWaiting,
    maxWaitMs = bulkheadDefaults.maxWaitMs,
    order = bulkheadDefaults.order,
    scope,
    clock = systemClock,
  } = options;
  const problems: Problem[] = [];
  const allow = (path: string, allowed: boolean, message: string): void => {
    if (!allowed) problems.push({ path, message });
  };
  allow('name', typeof name === 'string' && name !== '', `is ${JSON.stringify(name)}; give what it guards`);
  allow('max', Number.isSafeInteger(max) && max >= 1, `is ${max}; give an integer of at least 1`);
  allow(
    'maxWaiting',
    Number.isSafeInteger(maxWaiting) && maxWaiting >= 0,
    `is ${maxWaiting}; give an integer of at least 0: a line without end hides that there is too much work`,
  );
  allow(
    'maxWaitMs',
    Number.isFinite(maxWaitMs) && maxWaitMs > 0,
    `is ${maxWaitMs}; give more than 0 milliseconds, and maxWaiting: 0 if nobody may wait`,
  );
  allow('order', waitingOrders.includes(order), `is ${String(order)}; give ${waitingOrders.join(' or ')}`);
  throwIfProblems(`bulkhead ${name}`, problems);
  return { name, max, maxWaiting, maxWaitMs, order, scope, clock };
}
