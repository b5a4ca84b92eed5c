import { styleText } from 'node:util';
import { latencyText, rateText, shareText, wrap } from '../load/text.ts';
import type { CacheFinding, DoctorReport, Finding, OperationCost, StatementFinding } from './finding.ts';

export interface RenderOptions {
  /** Default off: the caller knows about NO_COLOR and whether this is a terminal. */
  readonly color?: boolean;
  /** Default 90 columns. */
  readonly width?: number;
}

type Paint = (style: Parameters<typeof styleText>[0], text: string) => string;

const labelWidth = 11;

/** What a person reads. */
export function renderFindings(report: DoctorReport, options: RenderOptions = {}): string {
  const width = Math.min(100, Math.max(60, options.width ?? 90));
  const paint: Paint = (style, text) =>
    options.color === true ? styleText(style, text, { validateStream: false }) : text;
  const { findings, blindSpots } = report;
  return [
    headline(report, width, paint),
    ...findings.map((finding, index) => one(finding, index + 1, width, paint)),
    blindSpots.flatMap((spot) => section('Not seen', spot, width, paint)),
  ]
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

const counted = (count: number, what: string): string =>
  `${count.toLocaleString('en-US')} ${what}${count === 1 ? '' : 's'}`;

function headline(report: DoctorReport, width: number, paint: Paint): string[] {
  const { findings, examined, windowMs, target } = report;
  const verdict = findings.length === 0 ? 'no findings' : counted(findings.length, 'finding');
  const database =
    examined.statements === null || examined.databaseMs === null
      ? ''
      : `, ${counted(examined.statements, 'distinct statement')} with ${latencyText(examined.databaseMs)} of database time`;
  const seen = `${target}, ${Math.round(windowMs / 1_000)} s: ${counted(examined.executions, 'execution')} of ${counted(examined.operations, 'operation')}${database}`;
  return [
    paint(['bold', findings.length === 0 ? 'green' : 'red'], `doctor: ${verdict}`),
    ...wrap(seen, width).map((line) => paint('dim', line)),
  ];
}

function one(finding: Finding, position: number, width: number, paint: Paint): string[] {
  return finding.rule === 'missed-invalidation'
    ? staleAnswer(finding, position, width, paint)
    : slowStatement(finding, position, width, paint);
}

function staleAnswer(
  { title, evidence, fix, verify }: CacheFinding,
  position: number,
  width: number,
  paint: Paint,
): string[] {
  const add = (label: string, text: string): string[] => section(label, text, width, paint);
  return [
    ...wrap(`${position}. ${title}`, width).map((line) => paint('bold', line)),
    ...evidence.flatMap((line, index) => add(index === 0 ? 'Evidence' : '', line)),
    ...add('Fix', fix.text),
    ...(fix.code === undefined ? [] : codeLines(fix.code, width, paint)),
    ...add('Prove', `${verify}   (after the fix, while the command is in use)`),
  ];
}

function slowStatement(finding: StatementFinding, position: number, width: number, paint: Paint): string[] {
  const { cost, gain, fix, proved, operations } = finding;
  const add = (label: string, text: string): string[] => section(label, text, width, paint);
  const code = (text: string): string[] => codeLines(text, width, paint);
  const what = finding.rule === 'n-plus-one' ? 'of the time on statements' : 'of all database time';
  return [
    ...wrap(`${position}. ${finding.title}${proved ? '' : ' (not proved)'}`, width).map((line) =>
      paint('bold', line),
    ),
    ...(operations.length === 0 || finding.rule === 'n-plus-one' ? [] : add('Where', operations.join(', '))),
    ...add('Statement', clipped(finding.statement)),
    ...finding.evidence.flatMap((line, index) => add(index === 0 ? 'Evidence' : '', line)),
    ...add(
      'Cost now',
      `${latencyText(cost.msPerCall)} each, ${rateText(cost.callsPerSecond)}/s, ${shareText(cost.share)} ${what}`,
    ),
    ...(cost.operation === undefined ? [] : add('', operationText(cost.operation))),
    ...add('Fix', fix.text),
    ...(fix.sql === undefined ? [] : code(fix.sql)),
    ...(fix.code === undefined ? [] : code(fix.code)),
    ...add('Gain', gainText(finding)),
    ...(finding.unprovedBecause === undefined ? [] : add('Not proved', finding.unprovedBecause)),
    ...add(gain.after === null ? 'Check' : 'Prove', `${finding.verify}   (with and without the fix)`),
  ];
}

/** Enough to know it by; the JSON report has all of it. */
const clipped = (text: string): string => (text.length > 400 ? `${text.slice(0, 399)}…` : text);

function operationText({ name, share, meanMs, p95 }: OperationCost): string {
  const bounds =
    p95.atMostMs === null
      ? `over ${latencyText(p95.aboveMs)}`
      : `between ${latencyText(p95.aboveMs)} and ${latencyText(p95.atMostMs)}`;
  return `${shareText(share)} of the time of ${name}, which takes ${latencyText(meanMs)} on average; its p95 is ${bounds}`;
}

const codeLines = (text: string, width: number, paint: Paint): string[] =>
  wrap(text, width - labelWidth).map((line) => `${' '.repeat(labelWidth)}${paint('cyan', line)}`);

function gainText({ gain, cost, rule }: StatementFinding): string {
  const figure = (value: number): string =>
    Number(value.toPrecision(3)).toLocaleString('en-US', { maximumFractionDigits: 1 });
  if (gain.after === null) return `unknown; the ${gain.unit} is ${figure(gain.before)} today`;
  const times = gain.before / Math.max(gain.after, 0.01);
  const isIndex = rule === 'missing-index';
  const by = isIndex ? 'by the planner on the twin, not a time' : 'by count';
  const what = isIndex ? 'database time' : 'the time on statements';
  return `${gain.unit} ${figure(gain.before)} → ${figure(gain.after)} (÷ ${figure(times)}, ${by}): up to ${latencyText(cost.savedMsPerSecond)} of ${what} saved in each second of this load`;
}

function section(label: string, text: string, width: number, paint: Paint): string[] {
  return wrap(text, width - labelWidth).map((line, index) =>
    index === 0 ? `${paint('dim', label.padEnd(labelWidth))}${line}` : `${' '.repeat(labelWidth)}${line}`,
  );
}
