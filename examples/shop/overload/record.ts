import type { HeldRate, Objectives } from '@plimsoll/cli/load';
import type { AppTelemetry } from 'plimsoll';

/** The running shop, and how it is measured. */
export interface Shop {
  readonly target: string;
  readonly objectives: Objectives;
  readonly stepMs: number;
  readonly seed: number;
  readonly signal: AbortSignal;
  telemetry(): Promise<AppTelemetry>;
}

/** One measured step. Shares are of the requests of the step. */
export interface Row {
  readonly phase: string;
  readonly step: string;
  readonly offeredRps: number;
  readonly goodRps: number;
  /** Answers that were admitted, timeouts among them, by their slowest operation: p99 over its objective. */
  readonly p99OfObjective: number;
  readonly slowest: string;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly refusedShare: number;
  readonly timeouts: number;
  readonly otherErrors: number;
  readonly sendLagP99Ms: number;
}

export interface Violation {
  readonly promise: string;
  readonly seen: object;
}

export interface Record {
  readonly rows: readonly Row[];
  readonly violations: readonly Violation[];
  /** Requests that ended. */
  readonly operations: number;
  readonly say: (line: string) => void;
  add(phase: string, step: string, held: HeldRate, objectives: Objectives): Row;
  expect(promise: string, holds: boolean, seen: object): void;
}

const fewest = 100;

export function createRecord({
  judges,
  say,
}: {
  readonly judges: boolean;
  readonly say: (line: string) => void;
}): Record {
  const rows: Row[] = [];
  const violations: Violation[] = [];
  let operations = 0;
  return {
    rows,
    violations,
    get operations() {
      return operations;
    },
    say,
    add(phase, step, held, objectives) {
      const { overall } = held;
      operations += overall.count;
      const refused = overall.errorKinds['status 503'] ?? 0;
      const timeouts = overall.errorKinds['timeout'] ?? 0;
      const byOperation = Object.entries(held.operations).filter(([, counts]) => counts.ok >= fewest);
      const shares = byOperation.map(([operation, { latency }]): readonly [string, number] => {
        const { p95Ms } = objectives.byOperation[operation] ?? objectives.default;
        return [operation, latency.p99Ms / p95Ms];
      });
      const [slowest, share] = shares.toSorted(([, one], [, other]) => other - one)[0] ?? ['', 0];
      const row: Row = {
        phase,
        step,
        offeredRps: held.offeredRps,
        goodRps: held.goodRps,
        p99OfObjective: share,
        slowest,
        p50Ms: overall.latency.p50Ms,
        p99Ms: overall.latency.p99Ms,
        refusedShare: overall.count === 0 ? 0 : refused / overall.count,
        timeouts,
        otherErrors: overall.errors - refused - timeouts,
        sendLagP99Ms: held.generator.sendLagP99Ms,
      };
      rows.push(row);
      say(lineOf(row));
      return row;
    },
    expect(promise, holds, seen) {
      if (holds || !judges) return;
      violations.push({ promise, seen });
      say(`  VIOLATED  ${promise}: ${JSON.stringify(seen)}`);
    },
  };
}

function lineOf(row: Row): string {
  const cells = [
    row.phase.padEnd(18),
    row.step.padEnd(16),
    `${Math.round(row.offeredRps)} offered`.padStart(14),
    `${Math.round(row.goodRps)} good`.padStart(11),
    `p50 ${Math.round(row.p50Ms)} ms`.padStart(12),
    `p99 ${Math.round(row.p99Ms)} ms`.padStart(13),
    `${row.p99OfObjective.toFixed(1)}x objective`.padStart(16),
    `${(100 * row.refusedShare).toFixed(1)} % 503`.padStart(12),
    `${row.timeouts} timeouts`.padStart(13),
    `${row.otherErrors} other`.padStart(9),
    row.p99OfObjective > 1 ? `  (${row.slowest})` : '',
    row.sendLagP99Ms > 20 ? `  (generator late: ${Math.round(row.sendLagP99Ms)} ms)` : '',
  ];
  return cells.join(' ');
}
