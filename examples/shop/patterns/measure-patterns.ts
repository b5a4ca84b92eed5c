import { renderComparison, renderReport, type LoadReport, type ReportOptions } from '@plimsoll/cli/load';
import { catalog } from '../modules/catalog/contract.ts';
import { runCheckedSessions, type Checked } from './checked-sessions.ts';

export interface PatternsOptions {
  readonly replicaUrls: readonly string[];
  /** Starts the shop anew with these variables; answers its URL. */
  readonly restart: (variables: Readonly<Record<string, string>>) => Promise<string>;
  readonly measure: (target: string) => Promise<LoadReport>;
  readonly skus: readonly string[];
  readonly say: (line: string) => void;
  readonly json: boolean;
}

export interface MeasuredPattern {
  readonly name: string;
  readonly report: LoadReport;
  readonly checked: Checked;
}

/** The same load on the shop without replicas and caches, with replicas, and with both. */
export async function measurePatterns(options: PatternsOptions): Promise<readonly MeasuredPattern[]> {
  const { replicaUrls, restart, measure, skus, say, json } = options;
  const out = json ? process.stderr : process.stdout;
  const shown: ReportOptions = {
    color: out.isTTY && process.env['NO_COLOR'] === undefined,
    width: Math.min(100, out.columns ?? 100),
    command: 'npm start -- --patterns',
  };
  const replicas = replicaUrls.join(',');
  const variants = [
    { name: 'no replica, no cache', variables: { DATABASE_REPLICA_URLS: '', SHOP_CACHE: 'off' } },
    { name: 'a replica', variables: { DATABASE_REPLICA_URLS: replicas, SHOP_CACHE: 'off' } },
    { name: 'a replica and caches', variables: { DATABASE_REPLICA_URLS: replicas, SHOP_CACHE: 'on' } },
  ];
  const measured: MeasuredPattern[] = [];
  for (const [index, { name, variables }] of variants.entries()) {
    say(`${name}: measured, with customers beside who check what they are shown`);
    const target = await restart(variables);
    const over = new AbortController();
    // Ids that no customer of the data has, and no earlier run.
    const firstCustomerId = 1_000_000 + ((Math.floor(Date.now() / 1_000) * 10 + index) % 20_000) * 100_000;
    const checking = runCheckedSessions({ target, skus, firstCustomerId, signal: over.signal });
    const report = await measure(target).finally(() => over.abort());
    const checked = await checking;
    measured.push({ name, report, checked });
    say(renderReport(report).split('\n')[0] ?? '');
    say(`${checked.reads} checked reads, ${checked.writes} writes, ${checked.violations.length} violations`);
    for (const violation of checked.violations.slice(0, 5)) say(`  ${violation}`);
  }
  const columns = measured.map(({ name, report, checked }) => ({
    name,
    report,
    counts: { 'checked reads': String(checked.reads), violations: String(checked.violations.length) },
  }));
  out.write(`\n${renderComparison(columns, { ...shown, operation: catalog.page.id })}\n\n`);
  if (json) process.stdout.write(`${JSON.stringify(measured, null, 2)}\n`);
  return measured;
}
