import type { Database } from '../database/database.ts';
import type { Metric } from '../telemetry/metrics.ts';

/** What an app knows of itself at this moment; without task counts when the database cannot be asked. */
export function appGauges(
  pools: ReturnType<Database['pools']>,
  inFlight: number,
  tasks: object | undefined,
): readonly Metric[] {
  const perPool = (
    name: string,
    description: string,
    value: (pool: (typeof states)[number][1]) => number,
  ): Metric => ({
    name,
    unit: '{connection}',
    description,
    kind: 'gauge',
    points: states.map(([pool, state]) => ({
      attributes: { 'db.client.connection.pool.name': pool },
      value: value(state),
    })),
  });
  const states = Object.entries(pools);
  return [
    perPool('db.client.connection.used', 'Connections in use.', (pool) => pool.inUse),
    perPool('db.client.connection.open', 'Connections open, in use or idle.', (pool) => pool.open),
    perPool('db.client.connection.max', 'Connections allowed.', (pool) => pool.max),
    perPool('db.client.connection.pending_requests', 'Waits for a connection.', (pool) => pool.waiting),
    {
      name: 'http.server.active_requests',
      unit: '{request}',
      description: 'Requests under way.',
      kind: 'gauge',
      points: [{ attributes: {}, value: inFlight }],
    },
    {
      name: 'plimsoll.tasks',
      unit: '{task}',
      description: 'Durable work by state; outbox is events without a position yet.',
      kind: 'gauge',
      points: Object.entries(tasks ?? {}).map(([state, value]) => ({
        attributes: { state },
        value: Number(value),
      })),
    },
  ];
}

/** Sagas that have not ended, by state. */
export function sagaGauges(counts: object | undefined): readonly Metric[] {
  if (counts === undefined) return [];
  return [
    {
      name: 'plimsoll.sagas',
      unit: '{saga}',
      description: 'Sagas that have not ended, by state; stuck ones wait for a decision by hand.',
      kind: 'gauge',
      points: Object.entries(counts).map(([state, value]) => ({
        attributes: { state },
        value: Number(value),
      })),
    },
  ];
}

/** How the replicas are, and what the canary has found. */
export function routingGauges({ replicas, canary }: ReturnType<Database['routing']>): readonly Metric[] {
  if (replicas.length === 0) return [];
  const perReplica = (
    name: string,
    unit: string,
    description: string,
    value: (replica: (typeof replicas)[number]) => number,
  ): Metric => ({
    name,
    unit,
    description,
    kind: 'gauge',
    points: replicas.map((replica) => ({ attributes: { server: replica.server }, value: value(replica) })),
  });
  return [
    perReplica(
      'plimsoll.replica.lag',
      's',
      'How far a replica is behind, at the last poll.',
      ({ lagMs }) => lagMs / 1_000,
    ),
    perReplica('plimsoll.replica.serving', '1', '1 while a replica gets reads.', ({ out }) =>
      out === undefined ? 1 : 0,
    ),
    {
      name: 'plimsoll.canary.violations',
      unit: '{read}',
      description: 'Reads of the canary that did not show its write; must stay 0.',
      kind: 'counter',
      points: [{ attributes: {}, value: canary.violations }],
    },
  ];
}
