import { median, rowOf, type Row } from '../report.ts';
import { paired, type Taken } from './compare.ts';
import { failurePathName } from './failure-path.ts';
import { memoryLimitsName } from './memory-limits.ts';
import { postgresLimitsName } from './postgres-limits.ts';
import { queueName } from './queues.ts';
import { redisLimitsName } from './redis-limits.ts';

interface Place {
  readonly case: string;
  readonly subject: string;
}

/** A figure of one subject against that of another, round by round: how much it should be. */
interface Target {
  readonly what: string;
  readonly figure: 'cpuNs' | 'perSecond';
  readonly of: Place;
  readonly to: Place;
  readonly atMost?: number;
  readonly atLeast?: number;
}

const breaker = (subject: string): Place => ({ case: 'breaker', subject });
const policy = (subject: string): Place => ({ case: 'full policy', subject });

function cheaper(what: string, mine: Place, peer: Place, atLeast: number): Target {
  return { what, figure: 'cpuNs', of: peer, to: mine, atLeast };
}

/** The cost of `mine` against that of the peer. */
function within(what: string, mine: Place, peer: Place, atMost: number): Target {
  return { what, figure: 'cpuNs', of: mine, to: peer, atMost };
}

function faster(what: string, mine: Place, peer: Place, atLeast: number): Target {
  return { what, figure: 'perSecond', of: mine, to: peer, atLeast };
}

const [time, count] = ['plimsoll time window', 'plimsoll count window'] as const;

const targets: readonly Target[] = [
  within('breaker, time window, to cockatiel sampling', breaker(time), breaker('cockatiel sampling'), 1),
  within('breaker, count window, to cockatiel count', breaker(count), breaker('cockatiel count'), 1),
  within(
    'breaker, time window, to cockatiel consecutive',
    breaker(time),
    breaker('cockatiel consecutive'),
    1,
  ),
  cheaper('opossum to breaker, time window', breaker(time), breaker('opossum'), 5),
  cheaper('opossum lean to breaker, time window', breaker(time), breaker('opossum lean'), 5),
  // O(1), and room for noise.
  ...[time, count].map((subject) =>
    within(
      `failing call at 100,000 to 1,000, ${subject}`,
      { case: failurePathName(100_000), subject },
      { case: failurePathName(1_000), subject },
      1.5,
    ),
  ),
  ...['plimsoll', 'plimsoll, not ambient'].flatMap((mine) => [
    within(`full policy to bare await, ${mine}`, policy(mine), policy('bare await'), 5),
    ...['cockatiel cooperative, no abort', 'cockatiel cooperative'].map((peer) =>
      cheaper(`${peer} to ${mine}`, policy(mine), policy(peer), 30),
    ),
  ]),
  ...(['sync', 'setImmediate'] as const).flatMap((task) => {
    const queue = (subject: string): Place => ({ case: queueName(task), subject });
    return [
      within(`queue, push to fastq promise, ${task}`, queue('plimsoll push'), queue('fastq promise'), 1.2),
      within(
        `queue, offer to fastq callback, ${task}`,
        queue('plimsoll offer'),
        queue('fastq callback'),
        1.2,
      ),
    ];
  }),
  ...(['allowed', 'denied'] as const).flatMap((verdict) => {
    const limit = (subject: string): Place => ({ case: memoryLimitsName(verdict), subject });
    return ['plimsoll GCRA', 'plimsoll GCRA, takeNow'].map((mine) =>
      cheaper(`rate-limiter-flexible to ${mine}, ${verdict}`, limit(mine), limit('rate-limiter-flexible'), 5),
    );
  }),
  ...['', ', auto'].map((suffix) =>
    faster(
      `Redis, throughput to @fastify/rate-limit${suffix}`,
      { case: redisLimitsName, subject: `plimsoll${suffix}` },
      { case: redisLimitsName, subject: `@fastify/rate-limit${suffix}` },
      0.9,
    ),
  ),
  faster(
    'PostgreSQL, throughput to rate-limiter-flexible',
    { case: postgresLimitsName, subject: 'plimsoll' },
    { case: postgresLimitsName, subject: 'rate-limiter-flexible' },
    2,
  ),
];

/** Printed, not asserted. None for what was skipped. */
export function targetRows(taken: readonly Taken[]): Row[] {
  const at = (place: Place): Taken[] =>
    taken.filter((one) => one.case === place.case && one.subject === place.subject);
  return targets.flatMap(({ what, figure, of, to, atMost, atLeast }) => {
    const ratios = paired(figure, at(of), at(to));
    if (ratios.length === 0) return [];
    const reached = median(ratios);
    const met = reached <= (atMost ?? Infinity) && reached >= (atLeast ?? 0);
    const bound = atMost === undefined ? `at least ${atLeast}` : `at most ${atMost}`;
    return [
      rowOf(
        { case: 'target', subject: what, metric: `${bound}: ${met ? 'met' : 'missed'}`, unit: 'x' },
        ratios,
      ),
    ];
  });
}
