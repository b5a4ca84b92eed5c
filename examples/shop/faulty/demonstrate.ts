import { examine, renderFindings, type DoctorReport } from '@plimsoll/cli/doctor';
import { renderComparison, renderReport, type LoadReport, type ReportOptions } from '@plimsoll/cli/load';
import { createDatabase } from 'plimsoll/database';
import { createShopScenario } from '../traffic/scenario.ts';
import { lightLoad } from './light-load.ts';
import { proveFixes, slowOperation, type FaultyShop, type Proof } from './prove-fixes.ts';

export interface Demonstration extends Omit<FaultyShop, 'session' | 'diagnose'> {
  readonly databaseUrl: string;
  readonly replicaUrls: readonly string[];
  /** One object on standard output; the texts go to standard error then. */
  readonly json: boolean;
}

/** How long the doctor watches, before the fixes and after them. */
export const watchMs = 15_000;

/** Measures, diagnoses and fixes the faulty shop, and tells of it. */
export async function demonstrateFixes(shop: Demonstration): Promise<Proof> {
  const { say, json } = shop;
  const out = json ? process.stderr : process.stdout;
  const color = out.isTTY && process.env['NO_COLOR'] === undefined;
  const options: ReportOptions = {
    color,
    width: Math.min(100, out.columns ?? 100),
    command: 'npm start -- --faulty',
  };
  const print = (text: string): void => void out.write(`\n${text}\n\n`);

  await using database = createDatabase({
    url: shop.databaseUrl,
    applicationName: 'shop fixes',
    pool: { max: 1 },
  });
  const session = await database.session();
  try {
    let isFirst = true;
    const proof = await proveFixes({
      ...shop,
      session,
      async measure(target) {
        const report = await shop.measure(target);
        // The whole of the first; of the others the answer, the table has the rest.
        if (isFirst) print(renderReport(report, options));
        else say(headline(report));
        isFirst = false;
        return report;
      },
      async diagnose(target) {
        const report = await diagnose(shop, target);
        print(renderFindings(report, options));
        return report;
      },
    });
    const measured = proof.measurements.map(({ name, load, statementsPerExecution }) => ({
      name,
      report: load,
      counts: { statements: statementsPerExecution.toFixed(1) },
    }));
    print(renderComparison(measured, { ...options, operation: slowOperation }));
    if (json) process.stdout.write(`${JSON.stringify(proof, null, 2)}\n`);
    return proof;
  } finally {
    await session.close();
  }
}

const headline = (report: LoadReport): string => renderReport(report).split('\n')[0] ?? '';

async function diagnose(shop: Demonstration, target: string): Promise<DoctorReport> {
  shop.say(`the doctor watches a light load for ${watchMs / 1_000} s`);
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, shop.signal]);
  const loading = lightLoad(target, await createShopScenario(), { visitors: 4, pauseMs: 20, signal });
  // A load that cannot go on ends the watching; its own failure is the one to tell.
  loading.catch(() => over.abort());
  try {
    return await examine({
      target,
      databaseUrl: shop.databaseUrl,
      replicaUrls: shop.replicaUrls,
      windowMs: watchMs,
      verify: 'npm start -- --faulty',
      signal,
    });
  } finally {
    over.abort();
    await loading;
  }
}
