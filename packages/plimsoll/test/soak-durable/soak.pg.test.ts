import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { faultKinds } from './faults.ts';

const script = new URL('soak.ts', import.meta.url).pathname;
const soak = (...options: string[]): Promise<{ stdout: string; stderr: string }> =>
  promisify(execFile)(process.execPath, ['--conditions=plimsoll:source', script, ...options], {
    timeout: 240_000,
  });

test(
  'one fault of each kind, and a release in the middle, break no promise',
  { timeout: 250_000 },
  async () => {
    const { stdout } = await soak('--rounds', '1', '--seed', '1', '--json');
    const { violations, unmet, faultsByKind, faultsNotMade } = JSON.parse(stdout);
    expect({ violations, unmet, faultsByKind, faultsNotMade }).toEqual({
      violations: 0,
      unmet: [],
      faultsByKind: { ...Object.fromEntries(faultKinds.map((kind) => [kind, 1])), 'release deployed': 1 },
      faultsNotMade: 0,
    });
  },
);

test.each([
  [['--rounds', '0'], '--rounds is "0"; want a whole number from 1 to 100'],
  [['--rounds', '1', '--minutes', '1'], '--minutes and --rounds are both given; want one of them'],
  [['--minutes', '0.1'], '--minutes is "0.1"; want a number from 0.2 to 120'],
])('%s are refused', async (options, told) => {
  await expect(soak(...options)).rejects.toMatchObject({ code: 2, stderr: `${told}\n` });
});
