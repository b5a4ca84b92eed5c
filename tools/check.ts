/** `npm run check`: all that can be said about the code without running it. `--help` says what. */
import { parseArgs } from 'node:util';
import path from 'node:path';
import { runProgram, runSteps } from './steps.ts';
import type { Step } from './steps.ts';

const root = path.join(import.meta.dirname, '..');

const help = `Usage: npm run check

Checks the whole workspace and prints one line for each step, with the full output of those that fail.
  format      oxfmt; repair with \`npm run format\`
  lint        oxlint with type information
  types       tsc on sources, tests and tools
  boundaries  which file may import which (tools/boundary-rules.ts)
  exports     folders, subpath exports and docs pages are the same set
  regions     code blocks of the docs are regions of executed tests; repair with \`node tools/check-regions.ts --write\`
Exits with 1 when a step failed.`;

const run =
  (program: string, ...args: readonly string[]): Step['run'] =>
  () =>
    runProgram(root, program, ...args);

const steps: readonly Step[] = [
  { name: 'format', run: run('oxfmt', '--check', '.'), summary: /\d+ files/ },
  { name: 'lint', run: run('oxlint', '--type-aware'), summary: /\d+ files/ },
  { name: 'types', run: run('tsc', '-p', 'tsconfig.json') },
  { name: 'boundaries', run: run(process.execPath, 'tools/check-boundaries.ts'), summary: /.+ read/ },
  { name: 'exports', run: run(process.execPath, 'tools/check-exports.ts'), summary: /.+ read/ },
  { name: 'regions', run: run(process.execPath, 'tools/check-regions.ts'), summary: /.+ read/ },
];

const { values } = parseArgs({ options: { help: { type: 'boolean', short: 'h' } } });
if (values.help) console.log(help);
else if (!(await runSteps(steps))) process.exitCode = 1;
