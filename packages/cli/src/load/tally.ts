import { createHistogram } from 'node:perf_hooks';
import type { RecordableHistogram } from 'node:perf_hooks';
import { objectiveOf } from './objectives.ts';
import type { Objectives } from './objectives.ts';

/** How one planned request ended. `refused`: the in-flight bound kept it from being sent. */
export type Ending =
  | { readonly kind: 'ok' }
  | { readonly kind: 'status'; readonly detail: string }
  | { readonly kind: 'connection'; readonly detail: string }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'refused' };

/** Upper edges of the histogram's buckets (3 significant figures), in milliseconds from the intended start. */
export interface Percentiles {
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export interface OperationCounts {
  /** Requests that ended in any way, refused ones included. */
  readonly count: number;
  readonly ok: number;
  readonly errors: number;
  /** By kind: `status 500`, `timeout`, `connection ECONNRESET`, `refused`. */
  readonly errorKinds: Readonly<Record<string, number>>;
  /** Answers later than the operation's p95 objective, with timeouts and refused ones. */
  readonly late: number;
  /**
   * Over good answers, timeouts (at the timeout) and refused requests (at the timeout too). Fast errors
   * are left out: they have a limit of their own and would make the rest look quicker than it was.
   */
  readonly latency: Percentiles;
}

export interface Tally {
  record(operation: string, ending: Ending, latencyMs: number): void;
  /** Running values, for stopping early and for the progress line. */
  soFar(): { readonly count: number; readonly bad: number; readonly p95Ms: number };
  overall(): OperationCounts;
  byOperation(): Record<string, OperationCounts>;
}

/** Sorts the ends of requests by operation, each with its own histogram of latencies. */
export function createTally(objectives: Objectives): Tally {
  const total = createCell();
  const cells = new Map<string, Cell>();
  return {
    record(operation, ending, latencyMs): void {
      let cell = cells.get(operation);
      if (cell === undefined) cells.set(operation, (cell = createCell()));
      const late = latencyMs > objectiveOf(objectives, operation).p95Ms;
      addTo(cell, ending, latencyMs, late);
      addTo(total, ending, latencyMs, late);
    },
    soFar: () => ({ count: total.count, bad: total.bad, p95Ms: total.latency.percentile(95) / 1000 }),
    overall: () => countsOf(total),
    byOperation: () => {
      const byName = [...cells].toSorted(([left], [right]) => (left < right ? -1 : 1));
      return Object.fromEntries(byName.map(([operation, cell]) => [operation, countsOf(cell)]));
    },
  };
}

interface Cell {
  count: number;
  ok: number;
  late: number;
  /** Late or failed: a request counts once. */
  bad: number;
  readonly errorKinds: Record<string, number>;
  readonly latency: RecordableHistogram;
}

const createCell = (): Cell => ({
  count: 0,
  ok: 0,
  late: 0,
  bad: 0,
  errorKinds: {},
  latency: createHistogram({ lowest: 1, highest: 60_000_000, figures: 3 }),
});

function addTo(cell: Cell, ending: Ending, latencyMs: number, late: boolean): void {
  cell.count += 1;
  const failed = ending.kind !== 'ok';
  if (failed) {
    const kind = 'detail' in ending ? `${ending.kind} ${ending.detail}` : ending.kind;
    cell.errorKinds[kind] = (cell.errorKinds[kind] ?? 0) + 1;
  } else cell.ok += 1;
  if (ending.kind === 'status' || ending.kind === 'connection') {
    cell.bad += 1;
    return;
  }
  cell.latency.record(Math.max(1, Math.round(latencyMs * 1000)));
  if (late) cell.late += 1;
  if (late || failed) cell.bad += 1;
}

function countsOf(cell: Cell): OperationCounts {
  const { latency, errorKinds } = cell;
  const at = (percentile: number): number =>
    latency.count === 0 ? 0 : latency.percentile(percentile) / 1000;
  return {
    count: cell.count,
    ok: cell.ok,
    errors: cell.count - cell.ok,
    errorKinds: { ...errorKinds },
    late: cell.late,
    latency: { p50Ms: at(50), p90Ms: at(90), p95Ms: at(95), p99Ms: at(99), maxMs: at(100) },
  };
}
