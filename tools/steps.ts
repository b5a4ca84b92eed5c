import { spawn } from 'node:child_process';
import path from 'node:path';

export interface Outcome {
  readonly ok: boolean;
  readonly output: string;
}

export interface Step {
  readonly name: string;
  readonly run: () => Promise<Outcome>;
  /** What in the output is worth a place on the line of a step that passed. */
  readonly summary?: RegExp;
}

const workspaceBin = path.join(import.meta.dirname, '../node_modules/.bin');

/** Runs a program of the workspace or of the system to its end; what it prints on both streams is the output. */
export function runProgram(folder: string, program: string, ...args: readonly string[]): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const env = { ...process.env, PATH: `${workspaceBin}${path.delimiter}${process.env['PATH'] ?? ''}` };
  const child = spawn(program, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => (output += text));
  child.on('error', (error) =>
    resolve({ ok: false, output: `${program} did not start: ${error.message}\n` }),
  );
  child.on('close', (code, signal) => {
    if (code === null) output += `${program} was ended by ${signal}\n`;
    resolve({ ok: code === 0, output });
  });
  return promise;
}

/** Runs steps one after another, past a failure too: a line for each, and the whole output of those that fail. */
export async function runSteps(
  steps: readonly Step[],
  print: (text: string) => void = console.log,
): Promise<boolean> {
  let ok = true;
  for (const step of steps) {
    const start = performance.now();
    const outcome = await step.run();
    const seconds = ((performance.now() - start) / 1000).toFixed(1).padStart(5);
    const summary = step.summary?.exec(outcome.output)?.[0];
    if (outcome.ok) print(`ok     ${seconds} s  ${step.name}${summary === undefined ? '' : ` (${summary})`}`);
    else print(`FAILED ${seconds} s  ${step.name}\n${outcome.output.trim()}\n`);
    ok &&= outcome.ok;
  }
  return ok;
}
