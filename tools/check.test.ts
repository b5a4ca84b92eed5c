import { expect, test } from 'vitest';
import { runProgram } from './steps.ts';

const check = (...args: readonly string[]): ReturnType<typeof runProgram> =>
  runProgram(import.meta.dirname, process.execPath, 'check.ts', ...args);

test('--help names every step without running one', async () => {
  const { ok, output } = await check('--help');
  expect(ok).toBe(true);
  expect(output.match(/^ {2}\w+/gm)).toEqual([
    '  format',
    '  lint',
    '  types',
    '  boundaries',
    '  exports',
    '  regions',
  ]);
});

test('an unknown option is refused', async () => {
  const { ok, output } = await check('--fast');
  expect(ok).toBe(false);
  expect(output).toContain("Unknown option '--fast'");
});
