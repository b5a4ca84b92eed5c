import { expect, test } from 'vitest';
import { PlimsollError } from './errors.ts';
import { failureKind, type FailureKind } from './failure-kind.ts';

test.each<[FailureKind, unknown]>([
  ['refused', new PlimsollError('PL_BREAKER_OPEN', 'x')],
  ['refused', new PlimsollError('PL_RATE_LIMITED', 'x')],
  ['cancelled', new PlimsollError('PL_ABORTED', 'x')],
  ['cancelled', new DOMException('stop', 'AbortError')],
  ['caller', new PlimsollError('PL_INPUT_INVALID', 'x')],
  ['caller', Object.assign(new Error('not found'), { statusCode: 404 })],
  ['caller', Object.assign(new Error('too many'), { status: 429 })],
  ['failure', Object.assign(new Error('bad gateway'), { statusCode: 502 })],
  ['failure', new PlimsollError('PL_TIMEOUT', 'x')],
  ['failure', new PlimsollError('PL_DEADLINE', 'x')],
  ['failure', new TypeError('fetch failed')],
  ['failure', 'a string'],
  ['failure', undefined],
])('%s: %s', (kind, error) => {
  expect(failureKind(error)).toBe(kind);
});
