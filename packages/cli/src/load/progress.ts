import { styleText } from 'node:util';
import { durationText, latencyText, rateText } from './text.ts';

/** A few times a second while a run goes on. */
export interface Progress {
  readonly phase: 'warm-up' | 'measure' | 'drain';
  readonly rateRps: number;
  /** Of the step so far. */
  readonly p95Ms: number;
  readonly inFlight: number;
  readonly elapsedMs: number;
  readonly budgetMs: number;
  readonly verdicts: readonly { readonly rateRps: number; readonly ok: boolean }[];
}

const barWidth = 16;

/** One line, for a terminal that rewrites it: bar, time, rate, p95, verdicts so far. */
export function renderProgress(
  progress: Progress,
  options: { readonly color?: boolean; readonly width?: number } = {},
): string {
  const { phase, elapsedMs, budgetMs, inFlight, verdicts } = progress;
  const { color = false, width = 90 } = options;
  const filled = Math.round(barWidth * Math.min(1, elapsedMs / budgetMs));
  const bar = '━'.repeat(filled) + '─'.repeat(barWidth - filled);
  const time = `${durationText(elapsedMs)}/${durationText(budgetMs)}`;
  const p95 = phase === 'drain' ? 'draining' : `p95 ${latencyText(progress.p95Ms)}`;
  const state = `${phase === 'warm-up' ? 'warm-up ' : ''}${rateText(progress.rateRps)} req/s  ${p95}  ${inFlight} in flight`;
  const start = `${bar} ${time}  ${state}  `;
  // The newest verdicts that fit.
  const room = Math.max(0, width - start.length);
  const marks = verdicts.map(({ ok, rateRps }) => ({ ok, text: `${ok ? '✓' : '✗'}${rateRps}` }));
  while (marks.length > 0 && marks.reduce((sum, { text }) => sum + text.length + 1, -1) > room) marks.shift();
  const painted = marks.map(({ ok, text }) =>
    color ? styleText(ok ? 'green' : 'red', text, { validateStream: false }) : text,
  );
  return `${start}${painted.join(' ')}`.trimEnd();
}
