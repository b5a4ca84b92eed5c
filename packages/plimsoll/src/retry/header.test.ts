import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { PlimsollError } from '../kernel/errors.ts';
import { attemptHeader, attemptHeaderValue, runAsAttempt } from './header.ts';
import { createRetry } from './retry.ts';

const busy = (): PlimsollError => new PlimsollError('PL_POOL_TIMEOUT', 'no connection');
const quick = { safe: true, baseMs: 0, maxMs: 0 };

test('three attempts here and three in the server that is called are three calls', async () => {
  let calls = 0;
  const seen: unknown[] = [];
  const inner = createRetry({ name: 'database', ...quick });
  const server = createServer((request, response) => {
    seen.push(request.headers[attemptHeader]);
    runAsAttempt(request.headers[attemptHeader], () =>
      inner.run(() => {
        calls += 1;
        return Promise.reject(busy());
      }),
    ).catch(() => response.writeHead(503).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const ask = async (): Promise<void> => {
    const value = attemptHeaderValue();
    const response = await fetch(url, { headers: value === undefined ? {} : { [attemptHeader]: value } });
    await response.arrayBuffer();
    if (!response.ok) throw Object.assign(new Error('answered'), { status: response.status });
  };
  try {
    await expect(createRetry({ name: 'server', ...quick }).run(ask)).rejects.toMatchObject({ status: 503 });
    expect([calls, seen]).toEqual([3, ['1', '2', '3']]);
    // Nobody repeats outside: the server does.
    await expect(ask()).rejects.toMatchObject({ status: 503 });
    expect([calls, seen.at(-1)]).toEqual([6, undefined]);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

test('a header that cannot be read says nothing, and the mark ends with the handler', async () => {
  const seen: (string | undefined)[] = [];
  let later: (() => void) | undefined;
  const handler = async (): Promise<void> => {
    seen.push(attemptHeaderValue());
    const { promise, resolve } = Promise.withResolvers<void>();
    later = resolve;
    void promise.then(() => seen.push(attemptHeaderValue()));
  };
  for (const value of [undefined, '', '0', '-1', '1000', '1, 2', 'x', ['1']])
    await runAsAttempt(value, handler);
  expect(seen).toEqual(Array.from({ length: 8 }, () => undefined));
  await runAsAttempt('7', handler);
  later?.();
  await Promise.resolve();
  expect(seen.slice(8)).toEqual(['7', undefined]);
});

test('an attempt that was passed on is told too', () => {
  const signal = new AbortController().signal;
  expect(attemptHeaderValue({ number: 2, signal, repeats: true })).toBe('2');
  expect(attemptHeaderValue({ number: 1, signal })).toBeUndefined();
});
