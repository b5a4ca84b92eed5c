import { fileURLToPath } from 'node:url';
import { startChild, type Child } from '@plimsoll/cli/process';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { isDeclined, type Entry } from './ledger.ts';

let bank: Child;
let url: string;

beforeAll(async () => {
  bank = await startChild({
    name: 'the bank',
    file: fileURLToPath(new URL('server.ts', import.meta.url)),
    env: { BANK_PORT: '0' },
  });
  url = `http://127.0.0.1:${(bank.ready as { listening: number }).listening}`;
});
afterAll(() => bank.stop());
beforeEach(() => setMode({ mode: 'ok' }));

async function setMode(mode: object): Promise<void> {
  const response = await fetch(`${url}/mode`, { method: 'PUT', body: JSON.stringify(mode) });
  expect(response.status).toBe(200);
}

const ask = (key: string, pence = 100, path = '/charges', timeoutMs = 5_000): Promise<Response> =>
  fetch(`${url}${path}`, {
    method: 'POST',
    headers: { 'idempotency-key': key },
    body: JSON.stringify({ pence }),
    signal: AbortSignal.timeout(timeoutMs),
  });

async function ledgerOf(prefix: string): Promise<Entry[]> {
  const { entries } = (await (await fetch(`${url}/ledger`)).json()) as { entries: Entry[] };
  return entries.filter(({ key }) => key.startsWith(prefix));
}

test('twenty asks at once with one key are one charge with one answer', async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask('same')));
  const bodies = new Set(await Promise.all(answers.map((answer) => answer.text())));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
  expect(bodies.size).toBe(1);
  expect(await ledgerOf('same')).toMatchObject([{ asks: 20, pence: 100, outcome: 'accepted' }]);
});

test('a key that was used for another amount, or for a refund, is refused and charges nothing', async () => {
  await ask('other');
  expect((await ask('other', 200)).status).toBe(422);
  expect((await ask('other', 100, '/refunds')).status).toBe(422);
  expect(await ledgerOf('other')).toMatchObject([{ asks: 1, pence: 100, kind: 'charge' }]);
});

test('about one charge in a hundred is declined, always the same ones; refunds never are', async () => {
  const declined = Array.from({ length: 2_000 }, (_, index) => `charge-${index}`).filter(isDeclined);
  expect(declined.length).toBeGreaterThan(5);
  expect(declined.length).toBeLessThan(40);
  const [key = ''] = declined;
  expect((await ask(key)).status).toBe(402);
  expect((await ask(key)).status).toBe(402);
  expect((await ask(`${key}x`, 100, '/refunds')).status).toBe(201);
});

test('what is not a request is refused: no key, no amount, not JSON, no such path', async () => {
  const post = (body: string, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${url}/charges`, { method: 'POST', body, headers });
  expect((await post('{"pence":1}')).status).toBe(400);
  expect((await post('{"pence":-1}', { 'idempotency-key': 'bad' })).status).toBe(400);
  expect((await post('{', { 'idempotency-key': 'bad' })).status).toBe(400);
  expect((await fetch(`${url}/nothing`)).status).toBe(404);
  expect((await fetch(`${url}/mode`, { method: 'PUT', body: '{"mode":"odd"}' })).status).toBe(400);
  expect(await ledgerOf('bad')).toEqual([]);
});

test('slow: answers, later', async () => {
  await setMode({ mode: 'slow', latencyMs: 300 });
  const startedMs = performance.now();
  expect((await ask('slow')).status).toBe(201);
  expect(performance.now() - startedMs).toBeGreaterThan(295);
});

test('flaky: half of the asks fail, some after the charge, and asking again never charges twice', async () => {
  await setMode({ mode: 'flaky' });
  const keys = Array.from({ length: 100 }, (_, index) => `flaky-${index}`);
  const first = await Promise.all(keys.map(async (key) => (await ask(key)).status));
  const failed = first.filter((status) => status === 500).length;
  expect(failed).toBeGreaterThan(30);
  expect(failed).toBeLessThan(70);
  const charged = (await ledgerOf('flaky-')).length;
  expect(charged).toBeGreaterThan(100 - failed);
  expect(charged).toBeLessThan(100);
  await setMode({ mode: 'ok' });
  await Promise.all(keys.map((key) => ask(key)));
  expect(await ledgerOf('flaky-')).toHaveLength(100);
});

test('hanging: never answers, and does not keep the bank from other modes', async () => {
  await setMode({ mode: 'hanging' });
  await expect(ask('hung', 100, '/charges', 200)).rejects.toThrow(/timeout/i);
  await setMode({ mode: 'ok' });
  expect((await ask('hung')).status).toBe(201);
});

test('down: the connection is reset', async () => {
  await setMode({ mode: 'down' });
  await expect(ask('down')).rejects.toThrow(/fetch failed/);
  expect(await ledgerOf('down')).toEqual([]);
});

test('SIGTERM ends it at once, also while a request hangs', async () => {
  const own = await startChild({
    name: 'another bank',
    file: fileURLToPath(new URL('server.ts', import.meta.url)),
    env: { BANK_PORT: '0' },
  });
  const ownUrl = `http://127.0.0.1:${(own.ready as { listening: number }).listening}`;
  await fetch(`${ownUrl}/mode`, { method: 'PUT', body: '{"mode":"hanging"}' });
  const hanging = fetch(`${ownUrl}/charges`, { method: 'POST', headers: { 'idempotency-key': 'x' } });
  const broken = expect(hanging).rejects.toThrow(/fetch failed/);
  // Sent later and answered: the one that hangs has arrived.
  await fetch(`${ownUrl}/ledger`);
  await own.stop();
  await broken;
  expect(await own.ended).toBe(0);
});
