/**
 * `npm run bench -- <area> [--only part] [--json] [--rounds n] [--seconds n]`: Plimsoll beside its peers in one run. Prints a
 * table, with `--json` one object on standard output instead; the raw numbers go to bench/results/ either way.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
// The same rule as for the workspace: install what the lockfile pins, once.
// @ts-expect-error plain JavaScript, because it runs before anything is installed
import { bootstrap } from '../tools/bootstrap.mjs';
import type { Area } from './report.ts';
import { printTable } from './report.ts';

const here = import.meta.dirname;
const areas = [
  'call',
  'cache',
  'cache-processes',
  'durable',
  'gateway',
  'idempotency',
  'outbox',
  'overload',
  'resilience',
  'routing',
  'views',
];
const condition = '--conditions=plimsoll:source';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string', default: '170' },
  },
});
const [name = ''] = positionals;

function integer(flag: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 100_000) return value;
  throw new Error(`--${flag} is ${JSON.stringify(text)}; want a whole number from 1`);
}

async function main(): Promise<void> {
  if (!areas.includes(name) || positionals.length > 1)
    throw new Error(`bench: want one area of ${areas.join(', ')}: npm run bench -- ${areas[0]}`);
  if (!process.execArgv.includes(condition)) {
    // Plimsoll runs from source, which Node only finds when told so at its start.
    const child = spawn(process.execPath, [condition, ...process.argv.slice(1)], { stdio: 'inherit' });
    process.exitCode = await new Promise<number>((resolve) => child.on('exit', (code) => resolve(code ?? 1)));
    return;
  }
  if (!existsSync(path.join(here, 'node_modules'))) console.error('bench: installing the peers, once');
  await (bootstrap as (folder: string) => Promise<void>)(here);

  const rounds = values.rounds === undefined ? undefined : integer('rounds', values.rounds);
  const endMs = performance.now() + integer('seconds', values.seconds) * 1_000;
  const { bench, parts = [] } = (await import(`./${name}/bench.ts`)) as {
    readonly bench: Area;
    readonly parts?: readonly string[];
  };
  const { only } = values;
  if (only !== undefined && !parts.includes(only))
    throw new Error(
      `--only is ${JSON.stringify(only)}; parts of ${name} are: ${parts.join(', ') || 'none, it is run whole'}`,
    );
  const { rows, settings, raw } = await bench({
    ...(rounds === undefined ? {} : { rounds }),
    ...(only === undefined ? {} : { only }),
    timeLeftMs: () => endMs - performance.now(),
    say: (line) => console.error(line),
  });
  const cpu = cpus();
  const machine = {
    cpu: cpu[0]?.model.trim() ?? 'unknown',
    cores: cpu.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
  };
  const result = { area: name, machine, date: new Date().toISOString(), rows };
  const file = path.join(here, 'results', `${name}-${result.date.replaceAll(/[:.]/g, '-')}.json`);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ ...result, settings, raw })}\n`);
  if (values.json) console.log(JSON.stringify(result));
  else printTable(result, settings);
  console.error(`raw numbers: ${path.relative(process.cwd(), file)}`);
  // Some peers go on connecting to servers that are gone.
  process.exit();
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
