import type { Command } from '../command.ts';
import { doctorDefaults, examine } from '../doctor/examine.ts';
import type { DoctorReport } from '../doctor/finding.ts';
import { renderFindings } from '../doctor/render-findings.ts';
import { describeFailure, numberOption, UsageError } from '../failure.ts';
import { loadPlan, planOption } from '../plan-file.ts';
import { untilStopped } from '../process/until-stopped.ts';

export const doctor: Command = {
  summary: 'watch a running app and tell what is wrong, with evidence and the fix',
  options: {
    plan: planOption,
    target: { value: '<url>', about: "default http://127.0.0.1 and the plan's port" },
    window: { value: '<seconds>', about: 'how long to watch (default 20)' },
    json: { about: 'print the report as JSON on standard output' },
  },
  notes:
    'Needs DATABASE_URL, or the database of the plan, and DATABASE_REPLICA_URLS where there are replicas. The\napp has to be in use meanwhile. Exit code 0: no findings; 1: findings; 2: it could not examine the app.',
  async run(values) {
    const plan = await loadPlan(values);
    const target =
      typeof values['target'] === 'string' ? values['target'] : `http://127.0.0.1:${plan.http.port}`;
    if (!URL.canParse(target))
      throw new UsageError(`--target is ${JSON.stringify(target)}; want a URL such as http://127.0.0.1:3000`);
    const windowS = numberOption('window', values['window'], { min: 1, max: 86_400 });
    const databaseUrl = plan.database?.url ?? process.env['DATABASE_URL'];
    if (databaseUrl === undefined || databaseUrl === '')
      throw new UsageError(
        'which database does the app use? Set DATABASE_URL, or database.url in the plan; the doctor reads its statistics',
      );
    const replicaUrls = plan.database?.replicaUrls ?? (process.env['DATABASE_REPLICA_URLS'] ?? '').split(',');
    const stop = new AbortController();
    void untilStopped().then((why) => stop.abort(new UsageError(`stopped by ${why}`)));
    const windowMs = windowS === undefined ? doctorDefaults.windowMs : windowS * 1_000;
    process.stderr.write(`watching ${target} for ${windowMs / 1_000} s\n`);
    let report: DoctorReport;
    try {
      report = await examine({
        target,
        databaseUrl,
        replicaUrls: replicaUrls.map((url) => url.trim()).filter((url) => url !== ''),
        windowMs,
        signal: stop.signal,
      });
    } catch (error) {
      // Exit code 1 means findings, so nothing else may end with it.
      process.stderr.write(
        `plimsoll: ${describeFailure(stop.signal.aborted ? stop.signal.reason : error)}\n`,
      );
      return 2;
    }
    process.stdout.write(values['json'] === true ? `${JSON.stringify(report, null, 2)}\n` : rendered(report));
    return report.findings.length === 0 ? 0 : 1;
  },
};

function rendered(report: DoctorReport): string {
  const color = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
  return `${renderFindings(report, { color, width: Math.min(100, process.stdout.columns ?? 100) })}\n`;
}
