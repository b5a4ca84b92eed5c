import { styleText } from 'node:util';
import { clientTimeoutMs, objectiveOf } from './objectives.ts';
import { renderPlot } from './render-plot.ts';
import type { Paint, Plot } from './render-plot.ts';
import { answerStep } from './report.ts';
import { searchDefaults } from './search.ts';
import type { Outcome } from './search.ts';
import type { LoadReport, StepReport } from './report.ts';
import { durationText, latencyText, rateText, shareText, wrap } from './text.ts';
import { describeReason, verdictLimits } from './verdict.ts';

export interface ReportOptions {
  /** Default off: the caller knows about NO_COLOR and whether this is a terminal. */
  readonly color?: boolean;
  /** Default 90 columns. */
  readonly width?: number;
  /** What the reader would type to measure again. Default `plimsoll load`. */
  readonly command?: string;
}

/** What a person reads at the end of a run. */
export function renderReport(report: LoadReport, options: ReportOptions = {}): string {
  const width = Math.min(100, Math.max(60, options.width ?? 90));
  const paint: Paint = (style, text) =>
    options.color === true ? styleText(style, text, { validateStream: false }) : text;
  const shown = answerStep(report);
  const sections = [
    headline(report, width, paint),
    shown === undefined ? [] : operationTable(report, shown, paint),
    plotSection(report, width, paint),
    failures(report, width, paint),
    ending(report, options.command ?? 'plimsoll load', width, paint),
  ];
  return sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

const outcomeStyle = {
  found: 'green',
  'at-least': 'green',
  'below-peak': 'red',
  'inconclusive-generator': 'yellow',
  'inconclusive-noisy': 'yellow',
  aborted: 'yellow',
} as const satisfies Record<Outcome, Parameters<Paint>[0]>;

function headline(report: LoadReport, width: number, paint: Paint): string[] {
  const { outcome, heldRps, confirmed, expectedPeakRps, interval, objectives } = report;
  const upper =
    interval.upperRps === null
      ? 'no failing rate seen'
      : `interval ${rateText(interval.lowerRps)}..${rateText(interval.upperRps)}`;
  const held =
    heldRps === 0 ? 'held no rate' : `held ${rateText(heldRps)} req/s${confirmed ? '' : ' (unconfirmed)'}`;
  const style = outcomeStyle[outcome];
  const [first = '', ...rest] = wrap(`${outcome}: ${report.explanation}`, width);
  const { p95Ms, errorRate } = objectives.default;
  const own = Object.keys(objectives.byOperation).length;
  const others = own === 0 ? '' : `, ${own} ${own === 1 ? 'operation has its' : 'operations have their'} own`;
  const timeout = latencyText(clientTimeoutMs(objectives));
  return [
    `${paint(style, paint('bold', `Headroom ${headroomText(report)}`))}  ${held} of an expected peak of ${rateText(expectedPeakRps)} req/s (${upper})`,
    first.replace(outcome, paint(style, outcome)),
    ...rest,
    paint(
      'dim',
      `objective p95 <= ${p95Ms} ms, errors <= ${shareText(errorRate)}${others}; timeout ${timeout}`,
    ),
  ];
}

/** Rounded down: 1.97 must not read as 2.0. */
export function headroomText({ outcome, headroom, heldRps, interval, expectedPeakRps }: LoadReport): string {
  const text = (value: number): string => {
    const digits = value < 1 ? 2 : 1;
    return `${(Math.floor(value * 10 ** digits) / 10 ** digits).toFixed(digits)}x`;
  };
  if (heldRps > 0) return `${outcome === 'at-least' ? '>= ' : ''}${text(headroom)}`;
  return interval.upperRps === null ? 'unknown' : `< ${(interval.upperRps / expectedPeakRps).toFixed(2)}x`;
}

const numberWidths = [7, 8, 8, 8, 7, 17];

function operationTable({ objectives, heldRps }: LoadReport, step: StepReport, paint: Paint): string[] {
  const entries = Object.entries(step.operations);
  const nameWidth = Math.min(28, Math.max(9, ...entries.map(([operation]) => operation.length)));
  const row = (name: string, numbers: readonly string[], verdict: string): string => {
    const cells = numbers.map((cell, index) => cell.padStart(numberWidths[index] ?? 0)).join('');
    return `  ${name.slice(0, nameWidth).padEnd(nameWidth)}${cells}  ${verdict}`.trimEnd();
  };
  const rows = entries.map(([operation, { count, errors, latency }]) => {
    const { p95Ms, errorRate } = objectiveOf(objectives, operation);
    const fails = step.verdict.reasons.some(
      (reason) => 'operation' in reason && reason.operation === operation,
    );
    const judged = fails ? paint('red', '✗ fails') : paint('green', '✓ holds');
    const rare = count < verdictLimits.samplesPerOperation;
    return row(
      operation,
      [
        String(count),
        ...[latency.p50Ms, latency.p95Ms, latency.p99Ms].map(latencyText),
        shareText(errors / Math.max(1, count)),
        `${p95Ms} ms / ${shareText(errorRate)}`,
      ],
      rare ? paint('dim', 'few: judged with all') : judged,
    );
  });
  const title = heldRps > 0 ? 'At the held rate' : 'At the lowest failing rate';
  const detail = `${rateText(step.rateRps)} req/s for ${durationText(step.measuredMs)}, latency from the intended start`;
  return [
    `${paint('bold', title)} (${detail})`,
    paint('dim', row('operation', ['count', 'p50', 'p95', 'p99', 'errors', 'objective'], '')),
    ...rows,
  ];
}

function plotSection(report: LoadReport, width: number, paint: Paint): string[] {
  const plot = tightestOperation(report);
  if (plot === undefined) return [];
  const lines = renderPlot(report.steps, plot, width, paint);
  if (lines.length === 0) return [];
  const legend = `${paint('green', '●')} holds  ${paint('cyan', '◆')} held rate  ${paint('red', '×')} fails  ${paint('dim', '╌')} objective`;
  return [`${paint('bold', `p95 of ${plot.operation}`)} against rate   ${legend}`, ...lines];
}

/** The operation whose p95 came closest to its objective, or went furthest over, in the highest step. */
function tightestOperation({ steps, objectives, heldRps }: LoadReport): Plot | undefined {
  const top = steps.toSorted((left, right) => right.rateRps - left.rateRps)[0];
  const ranked = Object.entries(top?.operations ?? {})
    .map(([operation, { latency }]) => {
      const limitMs = objectiveOf(objectives, operation).p95Ms;
      return { operation, limitMs, heldRps, strain: latency.p95Ms / limitMs };
    })
    .toSorted((left, right) => right.strain - left.strain);
  return ranked[0];
}

/** Why the lowest failing rate failed: the last attempt at it. */
function failures({ steps, interval }: LoadReport, width: number, paint: Paint): string[] {
  const failed = steps.findLast((step) => step.rateRps === interval.upperRps && !step.verdict.ok);
  if (failed === undefined) return [];
  const reasons = failed.verdict.reasons.map(describeReason).join('; ');
  const kinds = Object.entries(failed.overall.errorKinds).map(([kind, count]) => `${count} x ${kind}`);
  const errors = kinds.length === 0 ? '' : ` (${kinds.join(', ')})`;
  return section('Fails at', `${rateText(failed.rateRps)} req/s: ${reasons}${errors}`, width, (text) =>
    paint('bold', text),
  );
}

function ending(report: LoadReport, command: string, width: number, paint: Paint): string[] {
  const bold = (text: string): string => paint('bold', text);
  const { use, ok } = report.generator;
  const generator =
    use === null
      ? []
      : section(
          'Generator',
          `${ok ? 'ok' : 'too slow in a failing step'}: used ${use.generatorCores.toFixed(1)} of ${use.cores} cores (machine ${use.machineCores.toFixed(1)} busy), send lag p99 ${latencyText(use.sendLagP99Ms)}, event loop ${shareText(use.eventLoopUtilization)} busy`,
          width,
          bold,
        );
  const run = `${report.scenario} on ${report.target}, ${report.steps.length} steps in ${durationText(report.durationMs)}, seed ${report.seed}`;
  return [
    ...section('Moved first', report.whatMovedFirst.sentence, width, bold),
    ...generator,
    ...report.findings.flatMap((finding) => section('Note', finding, width, bold)),
    ...section('Run', run, width, bold),
    ...section('Next', nextCommand(report, command), width, bold),
  ];
}

function section(title: string, text: string, width: number, bold: (text: string) => string): string[] {
  const indent = 13;
  return wrap(text, width - indent).map((line, index) =>
    index === 0
      ? `${bold(title)}${' '.repeat(indent - title.length)}${line}`
      : `${' '.repeat(indent)}${line}`,
  );
}

function nextCommand({ outcome, heldRps, interval, settings, seed }: LoadReport, command: string): string {
  const longer = `${command} --duration ${Math.round((settings.budgetMs * 2) / 1000)}`;
  const again = `${command} --seed ${seed}   (after a change: the same seed plans the same requests)`;
  switch (outcome) {
    case 'found':
      return (interval.upperRps ?? 0) / heldRps > searchDefaults.precision
        ? `${longer}   (a narrower interval)`
        : again;
    case 'below-peak':
      return again;
    case 'at-least':
      return heldRps >= settings.maxRps ? `${command} --max-rps ${settings.maxRps * 2}` : longer;
    case 'inconclusive-generator':
    case 'inconclusive-noisy':
    case 'aborted':
      return longer;
  }
}
