import { expect, test } from 'vitest';
// #region usage
import { createContext, runInContext } from 'plimsoll';
import { byPrincipal, byTenant, createRateLimit } from 'plimsoll/rate-limit';

const limit = createRateLimit({
  name: 'exports',
  rules: [
    // 10 in a second on the long run, 20 at once, for each user…
    { kind: 'rate', name: 'user', limit: 10, perMs: 1_000, burst: 20, key: byPrincipal },
    // …and 1,000 in each hour of the clock for each tenant. Both, or nothing is taken.
    { kind: 'quota', name: 'tenant', limit: 1_000, per: 'hour', key: byTenant },
  ],
});

const runExport = (rows: number): Promise<string> =>
  // Does the work, or rejects with PL_RATE_LIMITED. Large exports cost more.
  limit.run(() => Promise.resolve(`${rows} rows`), undefined, Math.ceil(rows / 1_000));
// #endregion
// #region waiting
import { createWaitingLimit } from 'plimsoll/rate-limit';

const toBank = createWaitingLimit({
  name: 'bank',
  rules: [{ kind: 'rate', name: 'calls', limit: 50, perMs: 1_000, burst: 5 }],
  maxWaiting: 200,
  maxWaitMs: 2_000,
});
// Waits for its turn, at most 2 seconds and no longer than the deadline of the request.
const charge = (): Promise<string> => toBank.run(async ({ signal }) => (signal.aborted ? 'late' : 'charged'));
// #endregion
// #region login
const failures = createRateLimit<string>({
  name: 'login',
  rules: [{ kind: 'rate', name: 'account', limit: 5, perMs: 900_000, key: (account) => account }],
});

async function login(account: string, password: string): Promise<boolean> {
  const attempt = await failures.take(account);
  if (!attempt.allowed) throw failures.refusal(attempt);
  if (password !== 'right') return false;
  await failures.reset(account); // only failures count
  return true;
}
// #endregion

// #region now
const perTopic = createRateLimit<string>({
  name: 'log-lines',
  rules: [{ kind: 'rate', name: 'topic', limit: 10, perMs: 1_000, key: (topic) => topic }],
});

function log(topic: string, line: string, write: (line: string) => void): void {
  if (perTopic.takeNow(topic).allowed) write(`${topic}: ${line}`);
}
// #endregion

test('at once, where nothing waits', () => {
  const lines: string[] = [];
  for (let n = 0; n < 30; n += 1) log('cache', `miss ${n}`, (line) => lines.push(line));
  log('pool', 'full', (line) => lines.push(line));
  expect(lines).toEqual([...Array.from({ length: 10 }, (_, n) => `cache: miss ${n}`), 'pool: full']);
});

test('a limit by user and tenant', async () => {
  const caller = { principal: 'ann', tenant: 'acme' };
  const asAnn = <T>(fn: () => Promise<T>): Promise<T> => runInContext(createContext({ caller }), fn);
  expect(await asAnn(() => runExport(20_000))).toBe('20000 rows');
  await expect(asAnn(() => runExport(5_000))).rejects.toMatchObject({ code: 'PL_RATE_LIMITED' });
});

test('a rate toward a dependency', async () => {
  expect(await Promise.all(Array.from({ length: 8 }, charge))).toEqual(
    Array.from({ length: 8 }, () => 'charged'),
  );
});

test('failed logins', async () => {
  for (let n = 0; n < 4; n += 1) expect(await login('ann', 'wrong')).toBe(false);
  expect(await login('ann', 'right')).toBe(true);
  for (let n = 0; n < 5; n += 1) expect(await login('ann', 'wrong')).toBe(false);
  await expect(login('ann', 'right')).rejects.toMatchObject({ code: 'PL_RATE_LIMITED' });
});
