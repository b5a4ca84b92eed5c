import { expect, test } from 'vitest';
import { errorTable, PlimsollError, type ErrorCode } from '../kernel/errors.ts';
import { isEnd, isRetryable, parseRetryAfter, retryAfterOf } from './retryable.ts';

const withStatus = (status: number): Error => Object.assign(new Error('answered'), { statusCode: status });
const withCode = (code: string): Error => Object.assign(new Error('failed'), { code });

test('of HTTP answers 408, 429, 502, 503 and 504, and no other', () => {
  const retryable = Array.from({ length: 500 }, (_, index) => index + 100).filter((status) =>
    isRetryable(withStatus(status)),
  );
  expect(retryable).toEqual([408, 429, 502, 503, 504]);
  expect(isRetryable({ response: { status: 503 } })).toBe(true);
});

test('of our errors those that the table calls retryable, refusals only with a time', () => {
  const refusing = [
    'PL_BREAKER_OPEN',
    'PL_BULKHEAD_FULL',
    'PL_QUEUE_FULL',
    'PL_OVERLOADED',
    'PL_RATE_LIMITED',
    'PL_DRAINING',
  ];
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    const plain = new PlimsollError(code, 'failed');
    const timed = new PlimsollError(code, 'failed', { data: { retryAfterMs: 10 } });
    expect([code, isRetryable(plain)]).toEqual([
      code,
      errorTable[code].retryable && !refusing.includes(code),
    ]);
    expect([code, isRetryable(timed)]).toEqual([code, errorTable[code].retryable]);
  }
});

test('connections that were refused or broke, also as the cause', () => {
  for (const code of ['ECONNREFUSED', 'ECONNRESET', 'UND_ERR_CONNECT_TIMEOUT', 'EAI_AGAIN']) {
    expect(isRetryable(withCode(code))).toBe(true);
    expect(isRetryable(new TypeError('fetch failed', { cause: withCode(code) }))).toBe(true);
    expect(isRetryable(new PlimsollError('PL_NETWORK', 'lost', { cause: withCode(code) }))).toBe(true);
  }
  expect(isRetryable(new DOMException('late', 'TimeoutError'))).toBe(true);
});

test('never what was cancelled or may be committed, nor what nobody knows', () => {
  for (const error of [
    new PlimsollError('PL_ABORTED', 'gone'),
    new PlimsollError('PL_COMMIT_UNKNOWN', 'lost', { cause: withCode('ECONNRESET') }),
    new DOMException('gone', 'AbortError'),
  ]) {
    expect(isEnd(error)).toBe(true);
    expect(isRetryable(error)).toBe(false);
  }
  for (const error of [
    new Error('a bug'),
    new TypeError('x is undefined'),
    withCode('ENOENT'),
    'text',
    undefined,
    null,
  ])
    expect(isRetryable(error)).toBe(false);
});

test('Retry-After in seconds or as a date; what cannot be read is none', () => {
  const nowMs = Date.parse('2026-01-01T00:00:00Z');
  expect(parseRetryAfter('120', nowMs)).toBe(120_000);
  expect(parseRetryAfter('Thu, 01 Jan 2026 00:00:05 GMT', nowMs)).toBe(5_000);
  expect(parseRetryAfter('Wed, 31 Dec 2025 23:59:00 GMT', nowMs)).toBe(0);
  for (const value of ['', '-1', '1.5', 'soon', '2026']) {
    const read = parseRetryAfter(value, nowMs);
    expect(value === '2026' ? read === 2_026_000 : read === undefined).toBe(true);
  }
  expect(
    retryAfterOf(new PlimsollError('PL_OVERLOADED', 'x', { data: { retryAfterMs: -5 } })),
  ).toBeUndefined();
  expect(
    retryAfterOf(new PlimsollError('PL_OVERLOADED', 'x', { data: { retryAfterMs: 'soon' } })),
  ).toBeUndefined();
});
