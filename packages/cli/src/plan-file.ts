import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { plan, type Plan } from 'plimsoll';
import { numberOption, UsageError } from './failure.ts';
import type { Values } from './command.ts';

export const planOption = { value: '<file>', about: 'the plan (default plimsoll.plan.ts)' } as const;

/** Loads the default export of a file that the user wrote. */
export async function loadDefault(file: string, what: string): Promise<unknown> {
  const path = resolve(file);
  if ((await stat(path).catch(() => undefined)) === undefined) {
    throw new UsageError(`there is no ${what} at ${path}; run this in the folder that has one, or name it`);
  }
  const loaded = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
  if (loaded.default === undefined)
    throw new UsageError(`${path} has no default export; end it with \`export default …\``);
  return loaded.default;
}

/** The plan with what the command line changes. */
export async function loadPlan(values: Values): Promise<Plan> {
  const file = typeof values['plan'] === 'string' ? values['plan'] : 'plimsoll.plan.ts';
  const loaded = await loadDefault(file, 'plan');
  if (typeof loaded !== 'object' || loaded === null || !('expectedPeak' in loaded))
    throw new UsageError(`the default export of ${file} is not a plan; write \`export default plan({ … })\``);
  const given = loaded as Plan;
  const port = numberOption('port', values['port'], { min: 0, max: 65_535 });
  const pool = numberOption('pool', values['pool'], { min: 1, max: 1_000 });
  return plan({
    ...given,
    http: { ...given.http, ...(port === undefined ? {} : { port }) },
    database: {
      ...given.database,
      pool: { ...given.database?.pool, ...(pool === undefined ? {} : { max: pool }) },
    },
  });
}
