import type { Database } from '../database/database.ts';
import { createLoop, type Loop } from '../durable/loop.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { extendLifecycle } from '../kernel/lifecycle.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { eventLag, type EventLag } from './lag.ts';

/** How far events may be behind before no more are taken from outside. */
export interface EventBudget {
  /** How long the oldest event may wait for a position, in milliseconds. Default as long as it takes. */
  readonly outboxMs?: number;
  /** Deliveries of one subscription that may wait or run. Default any number. */
  readonly backlog?: number;
}

/** What is refused while events are behind: everything under `*`, else by the type of event. */
type Refusals = ReadonlyMap<string, string>;

export interface EventPressure extends Loop {
  /** Throws PL_EVENTS_BEHIND when an event of this type is not to be taken now. */
  readonly assertRoom: (type: string) => void;
}

/** What was over its budget is taken again below this part of it, so that it does not flap. */
const relief = 0.8;
const sampleMs = 1_000;
/** Looking takes longer the more there is; it may take this part of the time. */
const lookingShare = 0.05;

/**
 * Looks once a second how far events are behind. Over its budget, events that outside requests would add are refused;
 * what deliveries and jobs emit never is, for it is they that make room.
 */
export function createEventPressure(options: {
  readonly database: Database;
  readonly budget: EventBudget;
  readonly clock?: Clock;
}): EventPressure {
  const { database, budget, clock = systemClock } = options;
  // Replaced by each look.
  let refusals: Refusals = new Map();
  let nextLookAtMs = -Infinity;

  const loop = createLoop({
    name: 'event pressure',
    scope: database.scope,
    pollMs: sampleMs,
    async round() {
      const beganMs = clock.monotonicMs();
      if (beganMs < nextLookAtMs) return false;
      const lag = await eventLag(database);
      const endedMs = clock.monotonicMs();
      nextLookAtMs = endedMs + (endedMs - beganMs) / lookingShare - sampleMs;
      refusals = overBudget(lag, budget, refusals);
      return false;
    },
    // What nobody looks at any more refuses nothing.
    onStop: async () => void (refusals = new Map()),
  });
  return extendLifecycle(loop, {
    wake: loop.wake,
    assertRoom(type: string): void {
      const why = refusals.get('*') ?? refusals.get(type);
      if (why === undefined) return;
      throw new PlimsollError('PL_EVENTS_BEHIND', `${type} is not taken: ${why}; come again later`, {
        data: { event: type },
      });
    },
  });
}

/** What is to be refused now, when `before` was refused until now. */
export function overBudget(lag: EventLag, budget: EventBudget, before: Refusals): Refusals {
  const refusals = new Map<string, string>();
  const { outboxMs = Infinity, backlog = Infinity } = budget;
  if (lag.outbox.oldestMs > limit(outboxMs, before.has('*')))
    refusals.set(
      '*',
      `the oldest of ${lag.outbox.events} events has waited ${lag.outbox.oldestMs} ms for the relay, and events.budget.outboxMs is ${outboxMs}`,
    );
  for (const { name, eventType, backlog: waiting } of lag.subscriptions) {
    if (waiting > limit(backlog, before.has(eventType)))
      refusals.set(
        eventType,
        `${waiting} deliveries of ${name} wait, and events.budget.backlog is ${backlog}`,
      );
  }
  return refusals;
}

const limit = (budget: number, refused: boolean): number => (refused ? budget * relief : budget);
