import type { Command, Values } from '../command.ts';
import { numberOption, UsageError } from '../failure.ts';
import { findHeadroom } from '../load/find-headroom.ts';
import { renderProgress } from '../load/progress.ts';
import { renderReport } from '../load/render-report.ts';
import type { LoadReport } from '../load/report.ts';
import type { Scenario } from '../load/scenario.ts';
import { loadDefault, loadPlan, planOption } from '../plan-file.ts';
import { untilStopped } from '../process/until-stopped.ts';
import { createSampler, objectivesOf } from '../load/plimsoll-target.ts';
import { progressLine } from '../load/progress-line.ts';

export const load: Command = {
  summary: 'load a running app until its objectives break, and tell its headroom',
  options: {
    plan: planOption,
    target: { value: '<url>', about: "default http://127.0.0.1 and the plan's port" },
    scenario: { value: '<file>', about: 'default export is the scenario (default plimsoll.load.ts)' },
    duration: { value: '<seconds>', about: 'budget of the search (default 60)' },
    'max-rps': { value: '<number>', about: 'never offer more than this' },
    seed: { value: '<number>', about: 'the same seed plans the same requests' },
    'allow-remote': { about: 'load a target that is not on this machine' },
    json: { about: 'print the whole report as JSON on standard output' },
  },
  notes:
    'DATABASE_URL and DATABASE_REPLICA_URLS let it read the CPU of database servers on this machine. Exit code\n0: the expected peak was held; 3: it was not; 4: inconclusive or stopped.',
  async run(values) {
    const plan = await loadPlan(values);
    const target =
      typeof values['target'] === 'string' ? values['target'] : `http://127.0.0.1:${plan.http.port}`;
    const scenario = await loadScenario(values);
    const urls = [
      process.env['DATABASE_URL'] ?? '',
      ...(process.env['DATABASE_REPLICA_URLS'] ?? '').split(','),
    ].filter((url) => url !== '');
    const sample = await createSampler(target, urls);
    const duration = numberOption('duration', values['duration'], { min: 5, max: 86_400 });
    const maxRps = numberOption('max-rps', values['max-rps'], { min: 0.1, max: 1_000_000 });
    const seed = numberOption('seed', values['seed'], { min: 0, max: 2 ** 31 });
    const stop = new AbortController();
    void untilStopped().then((why) => stop.abort(new Error(why)));
    const progress = progressLine();
    const report = await findHeadroom({
      target,
      scenario,
      objectives: objectivesOf(plan),
      expectedPeakRps: plan.expectedPeak.requestsPerSecond,
      sample,
      signal: stop.signal,
      allowRemote: values['allow-remote'] === true,
      onProgress: (now) => progress.show(renderProgress(now, progress.style)),
      ...(duration === undefined ? {} : { durationMs: duration * 1_000 }),
      ...(maxRps === undefined ? {} : { maxRps }),
      ...(seed === undefined ? {} : { seed }),
    }).finally(() => progress.end());
    const color = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
    process.stdout.write(
      values['json'] === true
        ? `${JSON.stringify(report, null, 2)}\n`
        : `${renderReport(report, { color, width: Math.min(100, process.stdout.columns ?? 100) })}\n`,
    );
    return exitCode(report);
  },
};

async function loadScenario(values: Values): Promise<Scenario> {
  const file = typeof values['scenario'] === 'string' ? values['scenario'] : 'plimsoll.load.ts';
  const scenario = await loadDefault(file, 'scenario');
  if (typeof scenario !== 'object' || scenario === null || !('session' in scenario))
    throw new UsageError(
      `the default export of ${file} is not a scenario; it needs name, requestsPerSession and session(index, random)`,
    );
  return scenario as Scenario;
}

function exitCode(report: LoadReport): number {
  if (report.outcome === 'found' || report.outcome === 'at-least') return 0;
  return report.outcome === 'below-peak' ? 3 : 4;
}
