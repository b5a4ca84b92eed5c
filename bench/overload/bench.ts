import { median, rowOf, shuffled, type Area, type Row } from '../report.ts';
import { longestSendLagMs, measureCapacity, measureCell, type Cell, type Phases } from './cell.ts';
import { subjects } from './subjects.ts';
import { targetRows } from './targets.ts';
import { workloads } from './workloads.ts';

const defaultRounds = 1;
export const factors = [1, 2, 4] as const;
const calibrationMs = { warmUp: 400, measured: 2_400 };
/** Start and end of the processes, and the wait for the last answers. */
const aroundCellMs = 1_700;
const longestCellMs = 8_000;

export interface Taken extends Cell {
  readonly workload: string;
  readonly subject: string;
  readonly factor: number;
  readonly round: number;
  /** Of the unprotected server in this round, in requests a second. */
  readonly capacity: number;
}

/** Open load on a fresh server for each cell; in each round the subjects take turns, in an order of their own. */
export const bench: Area = async ({ rounds = defaultRounds, timeLeftMs, say }) => {
  const raw: Taken[] = [];
  const cells = workloads.length * rounds * subjects.length * factors.length;
  const openingMs = 4_000 + workloads.length * rounds * (calibrationMs.warmUp + calibrationMs.measured + 600);
  const phases = phasesOf((timeLeftMs() - openingMs) / cells - aroundCellMs);
  const cellMs = phases.warmUpMs + phases.leadInMs + phases.measuredMs + aroundCellMs;
  let left = cells;
  say(`bench: ${cells} cells, measured for ${(phases.measuredMs / 1_000).toFixed(1)} s each`);
  for (const workload of workloads) {
    const opened = await workload.open();
    try {
      for (let round = 0; round < rounds; round += 1) {
        const capacity = await opened.withWork((work) =>
          measureCapacity(work, workload.callers, calibrationMs.warmUp, calibrationMs.measured),
        );
        say(`bench: ${workload.name}, round ${round + 1}: capacity ${capacity.toFixed(0)} requests a second`);
        for (const factor of shuffled(factors)) {
          for (const subject of shuffled(subjects)) {
            const take = async (): Promise<Taken> => {
              const cell = await opened.withWork((work) =>
                measureCell(subject, work, capacity, factor, phases),
              );
              const taken = {
                workload: workload.name,
                subject: subject.name,
                factor,
                round,
                capacity,
                ...cell,
              };
              raw.push(taken);
              say(line(taken));
              return taken;
            };
            left -= 1;
            if (isLate(await take()) && timeLeftMs() > (left + 1) * cellMs) await take();
          }
        }
      }
    } finally {
      await opened.close();
    }
  }
  const inTime = raw.filter((taken) => !isLate(taken));
  const dropped = raw.length - inTime.length;
  if (dropped > 0) say(`bench: WARNING: ${dropped} cells dropped, as the generator itself was late`);
  return {
    rows: [...rowsOf(inTime), ...targetRows(inTime)],
    settings: {
      ...Object.fromEntries([...subjects, ...workloads].map(({ name, setting }) => [name, setting])),
      load: `random arrivals at a fixed rate, on a fresh server after ${phases.warmUpMs.toFixed(0)} ms at half of its capacity and ${phases.leadInMs.toFixed(0)} ms of the load, for ${phases.measuredMs.toFixed(0)} ms; latency from the intended start; a client goes after 1 s; good is a 200 within 500 ms; capacity is what the unprotected server does closed loop at the beginning of the round`,
    },
    raw,
  };
};

function phasesOf(cellMs: number): Phases {
  if (cellMs < 1_500)
    throw new Error('the rounds do not fit into the time; give --seconds more, or fewer --rounds');
  const lastsMs = Math.min(longestCellMs, cellMs);
  return { warmUpMs: 0.15 * lastsMs, leadInMs: 0.3 * lastsMs, measuredMs: 0.55 * lastsMs };
}

const isLate = ({ sendLagP99Ms }: Cell): boolean => sendLagP99Ms > longestSendLagMs;

function line({ subject, factor, ...cell }: Taken): string {
  const figures = [
    `goodput ${cell.goodputPercent.toFixed(0)} %`,
    `200 p50 ${cell.p50Ms.toFixed(0)} p99 ${cell.p99Ms.toFixed(0)} ms`,
    `503 ${cell.refusedPercent.toFixed(0)} %`,
    `timeouts ${cell.timeoutPercent.toFixed(0)} %`,
    `send lag p99 ${cell.sendLagP99Ms.toFixed(1)} ms${isLate(cell) ? ': DROPPED, the generator itself was late' : ''}`,
  ];
  return `  ${factor}x ${subject.padEnd(26)} ${figures.join(', ')}`;
}

const metrics = [
  ['goodput, of capacity', '%', 'goodputPercent'],
  ['200, p50', 'ms', 'p50Ms'],
  ['200, p99', 'ms', 'p99Ms'],
  ['503', '%', 'refusedPercent'],
  ['503 with Retry-After', '%', 'retryAfterPercent'],
  ['client timeouts', '%', 'timeoutPercent'],
  ['failed otherwise', '%', 'failedPercent'],
] as const;

function rowsOf(raw: readonly Taken[]): Row[] {
  const rows: Row[] = [];
  for (const { name } of workloads) {
    for (const factor of factors) {
      for (const { name: subject } of subjects) {
        const own = raw.filter(
          (one) => one.workload === name && one.factor === factor && one.subject === subject,
        );
        for (const [metric, unit, field] of metrics) {
          // Without one answer 200 or 503 there is no figure.
          const values = own.map((one) => one[field]).filter((value) => !Number.isNaN(value));
          if (values.length > 0 && !(field === 'failedPercent' && median(values) === 0))
            rows.push(rowOf({ case: `${name}, ${factor}x`, subject, metric, unit }, values));
        }
      }
    }
  }
  return rows;
}
