import type { EventLag } from '../outbox/lag.ts';
import type { Metric } from '../telemetry/metrics.ts';

/** How far events are behind. */
export function eventGauges({ outbox, subscriptions, readers }: EventLag): readonly Metric[] {
  const gauge = (name: string, unit: string, description: string, points: Metric['points']): Metric =>
    ({ name, unit, description, kind: 'gauge', points }) as Metric;
  const perSubscription = (
    name: string,
    unit: string,
    description: string,
    value: (subscription: (typeof subscriptions)[number]) => number,
  ): Metric =>
    gauge(
      name,
      unit,
      description,
      subscriptions.map((each) => ({ attributes: { subscription: each.name }, value: value(each) })),
    );
  return [
    gauge('plimsoll.outbox.events', '{event}', 'Events that have no position yet.', [
      { attributes: {}, value: outbox.events },
    ]),
    gauge('plimsoll.outbox.age', 's', 'How long the oldest of them has waited.', [
      { attributes: {}, value: outbox.oldestMs / 1_000 },
    ]),
    perSubscription(
      'plimsoll.subscription.backlog',
      '{delivery}',
      'Deliveries that wait or run.',
      ({ backlog }) => backlog,
    ),
    perSubscription(
      'plimsoll.subscription.lag',
      's',
      'How long ago the oldest of them was made.',
      ({ oldestMs }) => oldestMs / 1_000,
    ),
    perSubscription(
      'plimsoll.subscription.parked',
      '{delivery}',
      'Deliveries that somebody has to decide about.',
      ({ parked }) => parked,
    ),
    perSubscription(
      'plimsoll.subscription.behind',
      '{event}',
      'Positions of the log that a new subscription has not been given yet.',
      ({ behind }) => behind,
    ),
    gauge(
      'plimsoll.log.behind',
      '{event}',
      'Positions of the log that a reader has not read yet.',
      readers.map(({ name, behind }) => ({ attributes: { reader: name }, value: behind })),
    ),
  ];
}
