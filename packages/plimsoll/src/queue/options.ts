import { systemClock, type Clock } from '../kernel/clock.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import { waitingOrders, type WaitingOrder } from '../kernel/waiting-line.ts';

export interface QueueOptions<Item> {
  /** What is worked off: `thumbnails`. In errors, events and state. */
  readonly name: string;
  /** Items that may wait. Default 1000. */
  readonly maxLength?: number;
  /** Longest wait of an item, and of a producer for space, in milliseconds. Default 30_000. */
  readonly maxWaitMs?: number;
  /** Which item is next. Default `fifo`. */
  readonly order?: WaitingOrder;
  /** Producers that may wait in `space` at once. Default 64. */
  readonly maxProducers?: number;
  /**
   * Told, in the context of its producer, of each offered item that failed or was dropped; what is pushed rejects
   * instead. Default: failures go to the channel `plimsoll:background.error`.
   */
  readonly onFailure?: (error: unknown, item: Item) => void;
  /** Whose events these are. Default the queue. */
  readonly scope?: object;
  readonly clock?: Clock;
}

export interface HandledQueueOptions<Item, Result> extends QueueOptions<Item> {
  /** Runs once for each item that is not dropped, in the async context of its producer. */
  readonly handler: (item: Item) => Result | Promise<Result>;
  /** The weight that may be under way at once. Default 8. */
  readonly concurrency?: number;
  /** How much of `concurrency` an item takes: an integer from 1. Default 1. */
  readonly weight?: (item: Item) => number;
}

export const queueDefaults = {
  concurrency: 8,
  maxLength: 1_000,
  maxWaitMs: 30_000,
  order: 'fifo',
  maxProducers: 64,
} as const;

export type QueueSettings<Item> = Required<Omit<QueueOptions<Item>, 'onFailure' | 'scope'>> &
  Pick<QueueOptions<Item>, 'onFailure' | 'scope'> & {
    readonly concurrency: number;
    readonly weight?: (item: Item) => number;
  };

/** With the defaults; PL_CONFIG names everything that is not allowed. */
export function queueSettings<Item, Result>(
  options: QueueOptions<Item> & Partial<HandledQueueOptions<Item, Result>>,
): QueueSettings<Item> {
  const settings = { clock: systemClock, ...queueDefaults, ...withoutUndefined(options) };
  const { name, concurrency, maxLength, maxWaitMs, order, maxProducers } = settings;
  const problems: Problem[] = [];
  if (typeof name !== 'string' || name === '')
    problems.push({ path: 'name', message: `is ${JSON.stringify(name)}; say what is worked off` });
  for (const [path, value] of Object.entries({ concurrency, maxLength, maxProducers })) {
    if (!Number.isSafeInteger(value) || value < 1)
      problems.push({ path, message: `is ${value}; give an integer of at least 1` });
  }
  if (!Number.isFinite(maxWaitMs) || maxWaitMs <= 0)
    problems.push({ path: 'maxWaitMs', message: `is ${maxWaitMs}; give more than 0 milliseconds` });
  if (!waitingOrders.includes(order))
    problems.push({ path: 'order', message: `is ${String(order)}; give ${waitingOrders.join(' or ')}` });
  if (options.handler === undefined) {
    for (const path of ['concurrency', 'weight'] as const) {
      if (options[path] !== undefined)
        problems.push({
          path,
          message: 'needs a handler; without one, each `for await` takes one item at a time',
        });
    }
  }
  throwIfProblems(`queue ${name}`, problems);
  return settings;
}

function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
