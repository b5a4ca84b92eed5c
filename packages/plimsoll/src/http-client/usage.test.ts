import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createHttpClient, httpClientDefaults, type HttpClient } from './index.ts';

const seen: string[] = [];
const server = createServer((request, response) => {
  seen.push(`${request.method} ${request.url} ${String(request.headers['idempotency-key'])}`);
  if (request.url === '/accounts/nobody') response.writeHead(404).end();
  else if (request.method === 'POST') response.writeHead(201).end('{"id":"c-1"}');
  else response.end('{"pence":100}');
});
let bank: HttpClient;
beforeAll(async () => {
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  bank = createBank(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'secret');
});
afterAll(async () => {
  await bank.close();
  await new Promise((resolve) => server.close(resolve));
});

// #region usage
function createBank(origin: string, token: string): HttpClient {
  return createHttpClient({
    name: 'bank',
    origin, // https://bank.example, and nothing of it is ever sent elsewhere
    headers: { authorization: `Bearer ${token}` },
    policy: { timeout: { ms: 2_000 }, bulkhead: { max: 20 } },
  });
}

async function balanceOf(account: string): Promise<number | undefined> {
  const answer = await bank.request('GET', '/accounts/:account', { params: { account } });
  if (answer.status === 404) return undefined;
  const { pence } = answer.json() as { pence: number };
  return pence;
}
// #endregion

type External = <T>(
  name: string,
  key: string,
  effect: (signal: AbortSignal, key: string) => Promise<T>,
) => Promise<T>;

// #region external
async function charge(external: External, orderId: string, pence: number): Promise<string> {
  return external('charge', orderId, async (signal, idempotencyKey) => {
    // Safe to make again, because the bank knows the key: asked twice, it charges once.
    const answer = await bank.request('POST', '/charges', { json: { pence }, idempotencyKey, signal });
    if (answer.status !== 201) throw new Error(`the bank refused: ${answer.status} ${answer.text()}`);
    return (answer.json() as { id: string }).id;
  });
}
// #endregion

test('a 404 is an answer, and values in the path are encoded', async () => {
  expect(await balanceOf('a/b')).toBe(100);
  expect(await balanceOf('nobody')).toBeUndefined();
  expect(seen.splice(0)).toEqual(['GET /accounts/a%2Fb undefined', 'GET /accounts/nobody undefined']);
});

test('inside external, the key of the effect goes along', async () => {
  const external: External = (name, key, effect) =>
    effect(new AbortController().signal, `orders.place/${name}/${key}`);
  expect(await charge(external, '7', 100)).toBe('c-1');
  expect(seen.splice(0)).toEqual(['POST /charges orders.place/charge/7']);
});

test('the page lists exactly the defaults there are', () => {
  const page = readFileSync(new URL('../../../../docs/patterns/http-client.md', import.meta.url), 'utf8');
  const section = page.split('\n## ').find((part) => part.startsWith('Defaults')) ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| (\d+)/gm)].map(([, option, value]) => [option, value]);
  expect(rows).toEqual(Object.entries(httpClientDefaults).map(([option, value]) => [option, String(value)]));
});
