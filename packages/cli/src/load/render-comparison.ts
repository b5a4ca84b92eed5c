import { styleText } from 'node:util';
import { headroomText } from './render-report.ts';
import type { ReportOptions } from './render-report.ts';
import type { LoadReport } from './report.ts';
import { latencyText, rateText, wrap } from './text.ts';

/** One measurement of several with the same scenario, seed and settings, and a change before each. */
export interface Compared {
  /** Up to 32 characters. */
  readonly name: string;
  readonly report: LoadReport;
  /** Further columns by their title: what was counted besides. */
  readonly counts?: Readonly<Record<string, string>>;
}

export interface ComparisonOptions extends Pick<ReportOptions, 'color' | 'width'> {
  /** Its latency is shown at the first rate of the search, where all measurements send the same requests. */
  readonly operation: string;
}

/**
 * `more`, `less`: the rates that held in one are all above those that failed in the other. `not-told-apart`:
 * the intervals between holding and failing overlap. `inconclusive`: one of the measurements is.
 */
export type HeadroomChange = 'more' | 'less' | 'not-told-apart' | 'inconclusive';

export function headroomChange(before: LoadReport, after: LoadReport): HeadroomChange {
  if (![before, after].every(isConclusive)) return 'inconclusive';
  const isAbove = (high: LoadReport, low: LoadReport): boolean =>
    low.interval.upperRps !== null && high.heldRps >= low.interval.upperRps;
  if (isAbove(after, before)) return 'more';
  return isAbove(before, after) ? 'less' : 'not-told-apart';
}

const isConclusive = ({ outcome }: LoadReport): boolean =>
  outcome === 'found' || outcome === 'at-least' || outcome === 'below-peak';

/** A row for each measurement, and what may be concluded from the first and the last. */
export function renderComparison(measured: readonly Compared[], options: ComparisonOptions): string {
  const [first, last] = [measured[0], measured.at(-1)];
  if (first === undefined || last === undefined) return '';
  const width = Math.min(100, Math.max(60, options.width ?? 90));
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    options.color === true ? styleText(style, text, { validateStream: false }) : text;
  const titles = Object.keys(first.counts ?? {});
  const rateRps = first.report.steps[0]?.rateRps;
  const row = (name: string, cells: readonly string[]): string =>
    `  ${name.slice(0, 32).padEnd(32)}${cells.map((cell, index) => cell.padStart(Math.max(9, (titles[index - 6]?.length ?? 0) + 2))).join('')}`.trimEnd();
  const rows = measured.map(({ name, report, counts }) => {
    const step = report.steps[0];
    const seen = step?.operations[options.operation];
    return row(name, [
      isConclusive(report) ? headroomText(report) : 'unknown',
      rateText(report.heldRps),
      report.interval.upperRps === null ? '-' : rateText(report.interval.upperRps),
      ...(seen === undefined
        ? ['-', '-', '0']
        : [
            latencyText(seen.latency.p50Ms),
            latencyText(seen.latency.p95Ms),
            `${seen.count}${(step?.cut ?? 0) === 0 ? '' : '*'}`,
          ]),
      ...titles.map((title) => counts?.[title] ?? '-'),
    ]);
  });
  const change = headroomChange(first.report, last.report);
  const cut = measured.some(({ report }) => (report.steps[0]?.cut ?? 0) > 0);
  const notes = [
    ...(rateRps === undefined
      ? []
      : [
          `p50, p95: of ${options.operation} at ${rateText(rateRps)} req/s, the same requests each time${cut ? '; * stopped early: too much was late' : ''}`,
        ]),
    ...measured.flatMap(({ name, report }) =>
      isConclusive(report) && report.confirmed ? [] : [`${name}: ${report.outcome}: ${report.explanation}`],
    ),
    ...measured.slice(1).flatMap(({ name, report }, index) => {
      const above = measured[index];
      return above !== undefined && headroomChange(above.report, report) === 'not-told-apart'
        ? [`${name}: not told apart from the row above, their intervals overlap`]
        : [];
    }),
  ];
  return [
    ...wrap(conclusion(first.report, last.report, change), width).map((line) =>
      paint(['bold', change === 'more' ? 'green' : change === 'less' ? 'red' : 'yellow'], line),
    ),
    paint('dim', row('', ['headroom', 'held', 'fails at', 'p50', 'p95', 'count', ...titles])),
    ...rows,
    ...notes.flatMap((note) => wrap(note, width - 2).map((line) => paint('dim', `  ${line}`))),
  ].join('\n');
}

function conclusion(before: LoadReport, after: LoadReport, change: HeadroomChange): string {
  const [from, to] = [headroomText(before), headroomText(after)];
  switch (change) {
    case 'more':
      return `Headroom ${from} → ${to}: more`;
    case 'less':
      return `Headroom ${from} → ${to}: less`;
    case 'not-told-apart':
      return `Headroom ${from} → ${to}: no difference can be told, the intervals overlap; measure longer, or on a quieter machine`;
    case 'inconclusive':
      return 'Headroom before and after: inconclusive; measure longer, or on a quieter machine';
  }
}
