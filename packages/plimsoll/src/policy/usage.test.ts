import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPolicy, policyDefaults } from './index.ts';

let hits = 0;
const server = createServer((_request, response) => {
  hits += 1;
  // Ill at first.
  response.writeHead(hits === 1 ? 503 : 200, { 'content-type': 'application/json' });
  response.end('{"eur":1.1}');
});
let url = '';
beforeAll(async () => {
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

// #region usage
const bank = createPolicy({
  name: 'bank',
  retry: { attempts: 3 },
  breaker: { slowCallMs: 2_000 },
  bulkhead: { max: 20 },
  timeout: { ms: 3_000 },
});

function rates(from: string): Promise<{ eur: number }> {
  return bank.run(
    async ({ signal }) => {
      const response = await fetch(from, { signal });
      if (!response.ok)
        throw Object.assign(new Error(`bank: ${response.status}`), { status: response.status });
      return (await response.json()) as { eur: number };
    },
    { safe: true },
  );
}
// #endregion

type External = <T>(
  name: string,
  key: string,
  effect: (signal: AbortSignal, key: string) => Promise<T>,
) => Promise<T>;

// #region external
async function charge(external: External, orderId: string, pence: number): Promise<string> {
  return external('charge', orderId, (_signal, key) =>
    // Safe, because the bank knows the key: asked twice, it charges once.
    bank.run(({ signal }) => askBank(url, { key, pence }, signal), { safe: true }),
  );
}
// #endregion

async function askBank(
  at: string,
  { key, pence }: { key: string; pence: number },
  signal: AbortSignal,
): Promise<string> {
  const headers = { 'idempotency-key': key };
  const response = await fetch(at, { method: 'POST', headers, body: String(pence), signal });
  return `${response.status} for ${key}`;
}

test('a safe call is made again when the dependency is ill for a moment', async () => {
  expect(await rates(url)).toEqual({ eur: 1.1 });
  expect(hits).toBe(2);
  expect(bank.state()).toMatchObject({ retry: { calls: 1, retries: 1 }, breaker: { failures: 1 } });
});

test('inside external, the key of the effect goes along', async () => {
  const external: External = (name, key, effect) =>
    effect(new AbortController().signal, `orders.place/${name}/${key}`);
  expect(await charge(external, '7', 100)).toBe('200 for orders.place/charge/7');
});

test('the page lists exactly the defaults there are', () => {
  const page = readFileSync(new URL('../../../../docs/patterns/policy.md', import.meta.url), 'utf8');
  const section = page.split('\n## ').find((part) => part.startsWith('Defaults')) ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| ([^|]+?) \|/gm)].map(([, option, value]) => [
    option,
    value,
  ]);
  expect(rows).toEqual(Object.entries(policyDefaults).map(([option, value]) => [option, String(value)]));
});
