/** Runs the tests that take minutes each, which `npm test` leaves out. */
import { spawnSync } from 'node:child_process';

const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'long', ...process.argv.slice(2)];
const { status } = spawnSync(process.execPath, vitest, {
  stdio: 'inherit',
  env: { ...process.env, TEST_LONG: '1' },
});
process.exitCode = status ?? 1;
