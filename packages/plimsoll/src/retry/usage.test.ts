import { execFileSync } from 'node:child_process';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';
import {
  attemptHeader,
  attemptHeaderValue,
  createRetry,
  createRetryBudget,
  retryBudgetDefaults,
  retryDefaults,
  runAsAttempt,
  type Attempt,
} from 'plimsoll/retry';
import { afterEach, expect, test } from 'vitest';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function listen(onRequest: RequestListener): Promise<string> {
  const server = createServer(onRequest);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

// #region usage
// Two guards for one dependency share what may be made again.
const budget = createRetryBudget();
const queries = createRetry({ name: 'bank', safe: true, budget, hedge: {} });
const commands = createRetry({ name: 'bank', budget });

async function send(url: string, init: RequestInit, attempt: Attempt): Promise<unknown> {
  const headers = new Headers(init.headers);
  const number = attemptHeaderValue(attempt);
  if (number !== undefined) headers.set(attemptHeader, number);
  const response = await fetch(url, { ...init, headers, signal: attempt.signal });
  // The status and `Retry-After` decide whether and when it is made again.
  if (!response.ok)
    throw Object.assign(new Error(`bank: ${response.status}`), {
      status: response.status,
      headers: response.headers,
    });
  return response.json();
}

const rates = (url: string): Promise<unknown> => queries.run((attempt) => send(url, {}, attempt));

// With its key the bank does it once, however often it is sent. Without one: `commands.run(work)`, once.
function pay(url: string, key: string): Promise<unknown> {
  const init = { method: 'POST', headers: { 'idempotency-key': key } };
  return commands.run((attempt) => send(url, init, attempt), { safe: true });
}
// #endregion

test('a query and a command with its key are made again, and tell the callee so', async () => {
  const seen: unknown[] = [];
  const url = await listen(({ method, headers }, response) => {
    seen.push([method, headers['idempotency-key'], headers[attemptHeader]]);
    response.writeHead(seen.length % 2 === 1 ? 503 : 200).end('{"eur":1.1}');
  });
  await expect(rates(url)).resolves.toEqual({ eur: 1.1 });
  await expect(pay(url, 'order-7')).resolves.toEqual({ eur: 1.1 });
  expect(seen).toEqual([
    ['GET', undefined, '1'],
    ['GET', undefined, '2'],
    ['POST', 'order-7', '1'],
    ['POST', 'order-7', '2'],
  ]);
});

test('a server runs its handler as an attempt of its caller', async () => {
  const inner = createRetry({ name: 'stock', safe: true, baseMs: 0 });
  let calls = 0;
  const answer = (): Promise<unknown> =>
    inner.run(() => {
      calls += 1;
      return Promise.reject(Object.assign(new Error('stock: 503'), { status: 503 }));
    });
  // #region callee
  const handle = (request: IncomingMessage): Promise<unknown> =>
    runAsAttempt(request.headers[attemptHeader], answer);
  // #endregion
  const url = await listen((request, response) => {
    handle(request).catch(() => response.writeHead(503).end());
  });
  await expect(fetch(url, { headers: { [attemptHeader]: '1' } })).resolves.toMatchObject({ status: 503 });
  expect(calls).toBe(1);
  await expect(fetch(url)).resolves.toMatchObject({ status: 503 });
  expect(calls).toBe(4);
});

test('a process stays up during a wait', () => {
  const script = `
    import { createRetry } from 'plimsoll/retry';
    let calls = 0;
    void createRetry({ name: 'stock', safe: true, baseMs: 20, random: () => 0.9 }).run(async () => {
      calls += 1;
    if (calls < 3) throw Object.assign(new Error('busy'), { status: 503 });
    console.log('call', calls);
    });`;
  const given = ['--conditions=plimsoll:source', '--input-type=module', '--eval', script];
  const told = execFileSync(process.execPath, given, {
    cwd: new URL('.', import.meta.url),
    encoding: 'utf8',
    timeout: 30_000,
  });
  expect(told).toBe('call 3\n');
}, 30_000);

test('the page lists exactly the defaults there are', () => {
  const page = readFileSync(new URL('../../../../docs/patterns/retry.md', import.meta.url), 'utf8');
  const section = page.split('\n## ').find((part) => part.startsWith('Defaults')) ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| ([^|]+?) \|/gm)].map(([, option, value]) => [
    option,
    value,
  ]);
  const all = Object.entries({ ...retryDefaults, ...retryBudgetDefaults });
  expect(rows).toEqual(all.map(([option, value]) => [option, String(value)]));
});
