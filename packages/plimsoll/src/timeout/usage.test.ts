import { execFileSync } from 'node:child_process';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';
import { createContext, runInContext, systemClock } from 'plimsoll';
import {
  createTimeout,
  parseRemaining,
  remainingDefaults,
  remainingHeader,
  timeoutDefaults,
  timeoutHeader,
  type Attempt,
} from 'plimsoll/timeout';
import { afterEach, expect, test } from 'vitest';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function listen(onRequest: (request: IncomingMessage, end: () => void) => void): Promise<string> {
  const server = createServer((request, response) => onRequest(request, () => response.end('{"eur":1.1}')));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

// #region usage
const bank = createTimeout({ name: 'bank', ms: 800 });

async function fetchRates(url: string, attempt: Attempt): Promise<unknown> {
  const remaining = remainingHeader({ attempt });
  const response = await fetch(url, {
    signal: attempt.signal, // stops the request when nobody waits any more
    headers: remaining === undefined ? {} : { [timeoutHeader]: remaining },
  });
  return response.json();
}

function rates(url: string): Promise<unknown> {
  return bank.run((attempt) => fetchRates(url, attempt));
}
// #endregion

// #region callee
function deadlineOf(request: IncomingMessage, ownTimeoutMs: number): number {
  const given = parseRemaining(request.headers[timeoutHeader]) ?? Infinity;
  return systemClock.monotonicMs() + Math.min(ownTimeoutMs, given);
}
// #endregion

test('a call that is answered in time; the callee knows how long it has', async () => {
  let leftMs = 0;
  const url = await listen((request, end) => {
    leftMs = deadlineOf(request, 5_000) - systemClock.monotonicMs();
    end();
  });
  await expect(rates(url)).resolves.toEqual({ eur: 1.1 });
  expect(leftMs).toBeLessThanOrEqual(790);
});

test('the deadline of the request holds; the hanging one is hung up on', async () => {
  const hungUp = Promise.withResolvers<void>();
  const url = await listen((request) => request.on('close', hungUp.resolve));
  const context = createContext({ deadlineAtMs: systemClock.monotonicMs() + 50 });
  await expect(runInContext(context, () => rates(url))).rejects.toMatchObject({ code: 'PL_DEADLINE' });
  await hungUp.promise;
});

test('nested in a guard of another kind, with the attempt passed on', async () => {
  const whole = createTimeout({ name: 'report', ms: 30 });
  const url = await listen(() => undefined);
  // #region nested
  const report = whole.run((attempt) => bank.run((inner) => fetchRates(url, inner), attempt));
  // #endregion
  await expect(report).rejects.toMatchObject({ code: 'PL_TIMEOUT', data: { name: 'report' } });
});

test('the timer of a timeout keeps no process up', () => {
  const script = `
    import { createTimeout } from 'plimsoll/timeout';
    createTimeout({ name: 'bank', ms: 60_000 }).run(() => new Promise(() => undefined)).finally(() => console.log('told'));`;
  const given = ['--conditions=plimsoll:source', '--input-type=module', '--eval', script];
  const told = execFileSync(process.execPath, given, {
    cwd: new URL('.', import.meta.url),
    encoding: 'utf8',
    timeout: 30_000,
  });
  expect(told).toBe('');
}, 30_000);

test('the page lists exactly the defaults there are', () => {
  const page = readFileSync(new URL('../../../../docs/patterns/timeout.md', import.meta.url), 'utf8');
  const section = page.split('\n## ').find((part) => part.startsWith('Defaults')) ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| ([^|]+?) \|/gm)].map(([, option, value]) => [
    option,
    value,
  ]);
  const all = Object.entries({ ...timeoutDefaults, ...remainingDefaults });
  expect(rows).toEqual(all.map(([option, value]) => [option, String(value)]));
});
