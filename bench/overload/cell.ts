import { startChild } from './child.ts';
import { arrivals, sendClosed, sendOpen, type Ending } from './load.ts';
import { unprotected, type Subject } from './subjects.ts';
import type { Work } from './workloads.ts';

/** Within so long a request counts as served in time. */
export const goodWithinMs = 500;
/** Where the generator itself was later than this, the cell says nothing of the server. */
export const longestSendLagMs = 20;

export interface Phases {
  /** At half of the capacity. */
  readonly warmUpMs: number;
  /** Under the load, not measured. */
  readonly leadInMs: number;
  readonly measuredMs: number;
}

export interface Cell {
  readonly sent: number;
  readonly goodputPercent: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly refusedPercent: number;
  readonly timeoutPercent: number;
  /** Any other ending, such as a connection that was refused. */
  readonly failedPercent: number;
  /** Of the answers 503; not a number without any. */
  readonly retryAfterPercent: number;
  readonly sendLagP99Ms: number;
  /** What the server told of itself at the end of the load. */
  readonly state: unknown;
}

/** A server of its own, half loaded for a moment, then loaded with `factor` times the capacity. */
export async function measureCell(
  { protection }: Subject,
  work: Work,
  capacity: number,
  factor: number,
  { warmUpMs, leadInMs, measuredMs }: Phases,
): Promise<Cell> {
  const server = await startChild('subject.ts', { protection, work });
  try {
    const rate = factor * capacity;
    const { endings, sendLagP99Ms } = await sendOpen(server.origin, [
      ...arrivals(capacity / 2, 0, warmUpMs, false),
      ...arrivals(rate, warmUpMs, leadInMs, false),
      ...arrivals(rate, warmUpMs + leadInMs, measuredMs, true),
    ]);
    const state = await server.state();
    return { ...summary(endings, (capacity * measuredMs) / 1_000), sendLagP99Ms, state };
  } finally {
    await server.stop();
  }
}

/** What the unprotected server does for so many callers, each of whom waits for its answer. In requests a second. */
export async function measureCapacity(
  work: Work,
  callers: number,
  warmUpMs: number,
  measuredMs: number,
): Promise<number> {
  const server = await startChild('subject.ts', { protection: unprotected.protection, work });
  try {
    return await sendClosed(server.origin, callers, warmUpMs, measuredMs);
  } finally {
    await server.stop();
  }
}

function summary(endings: readonly Ending[], couldServe: number): Omit<Cell, 'sendLagP99Ms' | 'state'> {
  const answers = endings.filter((ending) => ending.kind === 'answer');
  const tookMs = answers
    .filter(({ status }) => status === 200)
    .map(({ ms }) => ms)
    .toSorted((a, b) => a - b);
  const refused = answers.filter(({ status }) => status === 503);
  const timeouts = endings.filter(({ kind }) => kind === 'timeout').length;
  const percent = (count: number): number => (100 * count) / endings.length;
  return {
    sent: endings.length,
    goodputPercent: (100 * tookMs.filter((ms) => ms <= goodWithinMs).length) / couldServe,
    p50Ms: percentile(tookMs, 0.5),
    p99Ms: percentile(tookMs, 0.99),
    refusedPercent: percent(refused.length),
    timeoutPercent: percent(timeouts),
    failedPercent: percent(endings.length - tookMs.length - refused.length - timeouts),
    retryAfterPercent: (100 * refused.filter(({ retryAfter }) => retryAfter).length) / refused.length,
  };
}

/** Of sorted values; not a number without any. */
function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}
