import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createBreaker, withFallback, type Attempt, type Breaker, type Degradable } from 'plimsoll/breaker';
import { afterEach, expect, test } from 'vitest';

interface Rates {
  readonly eur: number;
}

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
});

/** A bank over HTTP that answers with the status that is set. */
async function startBank() {
  const bank = { status: 200, requests: 0, url: '' };
  const server = createServer((_request, response) => {
    bank.requests += 1;
    response.writeHead(bank.status, { 'content-type': 'application/json' }).end('{"eur":1.1}');
  }).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  bank.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/rates`;
  return bank;
}

// #region usage
const bank = createBreaker({ name: 'bank', consecutiveFailures: 5, slowCallMs: 2_000 });

async function fetchRates(url: string, { signal }: Attempt): Promise<Rates> {
  const response = await fetch(url, { signal });
  // An answer of 500 is no failure to fetch. The status tells a 4xx, which does not count, from a 5xx.
  if (!response.ok) throw Object.assign(new Error(`bank: ${response.status}`), { status: response.status });
  return (await response.json()) as Rates;
}

function rates(url: string): Promise<Rates> {
  return bank.run((attempt) => fetchRates(url, attempt));
}
// #endregion

// #region fallback
async function ratesOrLastKnown(url: string, lastKnown: Rates): Promise<string> {
  const found: Degradable<Rates> = await withFallback(
    bank,
    (attempt) => fetchRates(url, attempt),
    () => lastKnown,
  );
  return found.degraded ? `${found.value.eur} (as of yesterday)` : `${found.value.eur}`;
}
// #endregion

// #region permit
async function pay(breaker: Breaker, send: () => Promise<void>): Promise<void> {
  const permit = breaker.acquire(); // throws PL_BREAKER_OPEN
  try {
    await send();
  } catch (error) {
    permit.fail(error);
    throw error;
  }
  permit.succeed();
}
// #endregion

test('a bank that fails is left alone, and its callers get the last known rates', async () => {
  const served = await startBank();
  expect(await rates(served.url)).toEqual({ eur: 1.1 });
  served.status = 404;
  await expect(rates(served.url)).rejects.toThrow('bank: 404');
  served.status = 503;
  for (let call = 0; call < 5; call += 1) await expect(rates(served.url)).rejects.toThrow('bank: 503');
  expect(bank.state().state).toBe('open');
  const { requests } = served;
  expect(await ratesOrLastKnown(served.url, { eur: 1 })).toBe('1 (as of yesterday)');
  expect(served.requests).toBe(requests);

  served.status = 200;
  // #region by-hand
  bank.trip('the bank moves to another data centre');
  bank.reset();
  // #endregion
  expect(await ratesOrLastKnown(served.url, { eur: 1 })).toBe('1.1');
});

test('a permit is what a caller holds that cannot wrap its call', async () => {
  const breaker = createBreaker({ name: 'bank', consecutiveFailures: 1 });
  await pay(breaker, async () => {});
  expect(breaker.state()).toMatchObject({ calls: 1, failures: 0 });
  await expect(pay(breaker, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  await expect(pay(breaker, async () => {})).rejects.toMatchObject({ code: 'PL_BREAKER_OPEN' });
});
