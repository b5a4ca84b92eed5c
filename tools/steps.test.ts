import { expect, test } from 'vitest';
import { runProgram, runSteps } from './steps.ts';
import type { Step } from './steps.ts';

const script = (name: string, code: string): Step => ({
  name,
  run: () => runProgram(import.meta.dirname, process.execPath, '-e', code),
});

async function linesOf(...steps: readonly Step[]): Promise<{ ok: boolean; lines: string[] }> {
  const printed: string[] = [];
  const ok = await runSteps(steps, (text) => printed.push(text));
  return {
    ok,
    lines: printed
      .join('\n')
      .replaceAll(/ +\d+\.\d s/g, ' time')
      .split('\n'),
  };
}

test('a step that passes is one line with its summary', async () => {
  const files = { ...script('first', 'console.log("much, 3 files read\\nmore")'), summary: /\d+ files/ };
  const { ok, lines } = await linesOf(files, script('second', 'console.log("much")'));
  expect(ok).toBe(true);
  expect(lines).toEqual(['ok time  first (3 files)', 'ok time  second']);
});

test('a step that fails shows all it printed on both streams, and the steps after it run', async () => {
  const { ok, lines } = await linesOf(
    script('broken', 'console.log("out"); console.error("err"); process.exitCode = 3'),
    script('next', ''),
  );
  expect(ok).toBe(false);
  expect(lines.toSorted()).toEqual(['', 'FAILED time  broken', 'err', 'ok time  next', 'out']);
});

test('a program that is killed or does not start has failed, and says so', async () => {
  expect(await script('killed', 'process.kill(process.pid)').run()).toEqual({
    ok: false,
    output: `${process.execPath} was ended by SIGTERM\n`,
  });
  const missing = await runProgram(import.meta.dirname, 'no-such-program');
  expect(missing.ok).toBe(false);
  expect(missing.output).toContain('no-such-program did not start');
});
