import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, inject, test } from 'vitest';

/** Exit codes 0 and 1 need a whole app under load: the tests of the faulty shop have them. */
async function doctor(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ readonly code: number | null; readonly out: string; readonly err: string }> {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, '../../bin/plimsoll.js'), 'doctor', ...args],
    {
      cwd: join(import.meta.dirname, '../../../../examples/hello'),
      env: { ...process.env, DATABASE_REPLICA_URLS: '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const [out, err, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { code: code as number | null, out, err };
}

const { primaryUrl } = inject('cluster');

test.each([
  ['no database', [], { DATABASE_URL: '' }, /which database does the app use\? Set DATABASE_URL/],
  ['a target that is no URL', ['--target', 'nowhere'], { DATABASE_URL: primaryUrl }, /--target is "nowhere"/],
  ['a window of nothing', ['--window', '0'], { DATABASE_URL: primaryUrl }, /--window is "0"; want a number/],
  [
    'an app that does not answer',
    ['--target', 'http://127.0.0.1:1', '--window', '1'],
    { DATABASE_URL: primaryUrl },
    /127\.0\.0\.1:1\/-\/telemetry does not answer/,
  ],
])('%s ends with exit code 2 and says why, because 1 means findings', async (_case, args, env, why) => {
  const { code, out, err } = await doctor(args, env);
  expect(err).toMatch(why);
  expect(err).not.toMatch(/\n\s+at /);
  expect({ code, out }).toEqual({ code: 2, out: '' });
});
