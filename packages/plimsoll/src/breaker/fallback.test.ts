import { expect, test, vi } from 'vitest';
import { PlimsollError } from '../kernel/errors.ts';
import { withFallback } from './fallback.ts';
import { bankBreaker, cancelled, error, notFound, opened, refused } from './fixtures/bank-breaker.ts';

test('a call that succeeds is not degraded, and asks for no other value', async () => {
  const fallback = vi.fn<() => number>();
  const result = await withFallback(bankBreaker().breaker, async () => 42, fallback);
  expect(result).toEqual({ degraded: false, value: 42 });
  expect(fallback).not.toHaveBeenCalled();
});

test('a failure and a refusal give the other value, marked as degraded, and say why', async () => {
  const { breaker } = bankBreaker();
  for (const thrown of [error, refused])
    expect(
      await withFallback(
        breaker,
        () => Promise.reject(thrown),
        async () => 'last known',
      ),
    ).toEqual({
      degraded: true,
      value: 'last known',
      reason: thrown,
    });
  const work = vi.fn<() => Promise<string>>();
  const result = await withFallback(opened().breaker, work, (reason) => (reason as PlimsollError).code);
  expect(result).toMatchObject({ degraded: true, value: 'PL_BREAKER_OPEN' });
  expect(work).not.toHaveBeenCalled();
});

test('the mistakes of the caller and cancelled calls reject as they are', async () => {
  for (const thrown of [notFound, cancelled, new PlimsollError('PL_ABORTED', 'x')]) {
    const fallback = vi.fn<() => number>();
    await expect(withFallback(bankBreaker().breaker, () => Promise.reject(thrown), fallback)).rejects.toBe(
      thrown,
    );
    expect(fallback).not.toHaveBeenCalled();
  }
});

test('classify decides what has a fallback', async () => {
  const result = await withFallback(
    bankBreaker().breaker,
    () => Promise.reject(notFound),
    () => null,
    () => 'failure',
  );
  expect(result).toEqual({ degraded: true, value: null, reason: notFound });
});

test('a fallback that throws rejects with its error, and the first one is the cause', async () => {
  const { breaker } = bankBreaker();
  const work = () => Promise.reject(error);
  const second = new Error('the cache is empty');
  const reject = async (thrown: unknown): Promise<unknown> =>
    withFallback(breaker, work, () => Promise.reject(thrown)).catch((rejected: unknown) => rejected);
  expect(await reject(second)).toBe(second);
  expect(second.cause).toBe(error);
  expect(Object.keys(second)).toEqual([]);

  const withCause = new Error('the cache is away', { cause: 'its own' });
  expect(await reject(withCause)).toBe(withCause);
  expect(withCause.cause).toBe('its own');
  expect(await reject(error)).toBe(error);
  expect(error.cause).toBeUndefined();
  const frozen = Object.freeze(new Error('frozen'));
  expect(await reject(frozen)).toBe(frozen);
  expect(await reject('a string')).toBe('a string');
});
