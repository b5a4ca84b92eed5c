import type { StepReport } from './report.ts';
import { latencyText, rateText } from './text.ts';

export type Paint = (style: 'green' | 'red' | 'yellow' | 'dim' | 'bold' | 'cyan', text: string) => string;

const rows = 9;
const gutter = 9; // of the axis labels

export interface Plot {
  readonly operation: string;
  readonly limitMs: number;
  readonly heldRps: number;
}

/** p95 of one operation against rate, both axes logarithmic, with the objective as a line. */
export function renderPlot(steps: readonly StepReport[], plot: Plot, width: number, paint: Paint): string[] {
  const points = steps.flatMap((step) => {
    const p95Ms = step.operations[plot.operation]?.latency.p95Ms;
    return p95Ms === undefined || p95Ms <= 0 ? [] : [{ rateRps: step.rateRps, p95Ms, ok: step.verdict.ok }];
  });
  if (points.length < 2) return [];
  const columns = width - gutter - 4;
  const rates = points.map((point) => point.rateRps);
  const x = logScale(Math.min(...rates), Math.max(...rates), columns - 1);
  const values = [...points.map((point) => point.p95Ms), plot.limitMs];
  const bottomMs = Math.min(...values);
  const topMs = Math.max(...values);
  const y = logScale(bottomMs, topMs, rows - 1);

  const grid: string[][] = Array.from({ length: rows }, () => Array.from({ length: columns }, () => ' '));
  const put = (row: number, column: number, mark: string): void => {
    const line = grid[row];
    if (line !== undefined) line[column] = mark;
  };
  const limitRow = y(plot.limitMs);
  for (let column = 0; column < columns; column += 1) put(limitRow, column, paint('dim', '╌'));
  for (const { rateRps, p95Ms, ok } of points) {
    const held = ok && rateRps === plot.heldRps;
    put(y(p95Ms), x(rateRps), held ? paint('cyan', '◆') : ok ? paint('green', '●') : paint('red', '×'));
  }

  const labels = new Map([
    [0, bottomMs],
    [rows - 1, topMs],
    [limitRow, plot.limitMs],
  ]);
  const lines = grid.map((line, row) => {
    const label = labels.get(row);
    const text = label === undefined ? '' : latencyText(label);
    return `${text.padStart(gutter)} ┤ ${line.join('')}`.trimEnd();
  });
  return [...lines.toReversed(), axis(rates, x, columns), ...rateLabels(rates, x, columns)];
}

/** Maps a value to 0..last. */
function logScale(from: number, to: number, last: number): (value: number) => number {
  const span = Math.log(to / from);
  return (value) => (span === 0 ? 0 : Math.round((Math.log(value / from) / span) * last));
}

function axis(rates: readonly number[], x: (rate: number) => number, columns: number): string {
  const line = Array.from({ length: columns }, () => '─');
  for (const rate of rates) line[x(rate)] = '┬';
  return `${' '.repeat(gutter)} └─${line.join('')}`;
}

/** As many rates as fit without touching, the ends first. */
function rateLabels(rates: readonly number[], x: (rate: number) => number, columns: number): string[] {
  const sorted = [...new Set(rates)].toSorted((left, right) => left - right);
  const line = Array.from({ length: columns + gutter + 6 }, () => ' ');
  const ordered = [sorted[0], sorted.at(-1), ...sorted.slice(1, -1)];
  for (const rate of ordered) {
    if (rate === undefined) continue;
    const text = rateText(rate);
    const middle = gutter + 3 + x(rate);
    const start = Math.min(gutter + 3 + columns - text.length, middle - Math.floor(text.length / 2));
    const around = line.slice(Math.max(0, start - 1), start + text.length + 1);
    if (around.every((character) => character === ' ')) line.splice(start, text.length, ...text.split(''));
  }
  line.splice(
    0,
    gutter,
    ...'req/s'
      .padStart(gutter - 1)
      .padEnd(gutter)
      .split(''),
  );
  return [line.join('').trimEnd()];
}
