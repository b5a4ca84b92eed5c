import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { plainAttempt } from '../kernel/attempt.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { parseRemaining, remainingHeader } from './remaining.ts';

const at = (nowMs: number): Clock => ({ ...systemClock, monotonicMs: () => nowMs });

test('tells the milliseconds left minus the margin, the lower of request and attempt', () => {
  const context = createContext({ deadlineAtMs: 1_000 });
  runInContext(context, () => {
    expect(remainingHeader({ clock: at(500.5) })).toBe('489');
    expect(remainingHeader({ clock: at(500), marginMs: 0 })).toBe('500');
    const attempt = { ...plainAttempt, deadlineAtMs: 700 };
    expect(remainingHeader({ clock: at(500), attempt })).toBe('190');
    expect(remainingHeader({ clock: at(500), attempt: plainAttempt })).toBe('490');
  });
});

test('nothing to tell without a deadline; never less than 1 and never more than eight digits', () => {
  expect(remainingHeader()).toBeUndefined();
  const told = (deadlineAtMs: number): string | undefined =>
    runInContext(createContext({ deadlineAtMs }), () => remainingHeader({ clock: at(0) }));
  expect(told(5)).toBe('1');
  expect(told(-5)).toBe('1');
  expect(told(1e12)).toBe('99999999');
});

test('a header that is malformed, negative, zero, absurd or given twice says nothing', () => {
  const bad = [
    '',
    ' 5',
    '5 ',
    '-1',
    '+1',
    '1.5',
    '1e3',
    '0x10',
    '0',
    '00',
    'NaN',
    'Infinity',
    '123456789',
    '5, 6',
  ];
  for (const value of bad) expect(parseRemaining(value)).toBeUndefined();
  expect(parseRemaining(undefined)).toBeUndefined();
  expect(parseRemaining(['5'])).toBeUndefined();
  expect(parseRemaining('99999999')).toBe(99_999_999);
});

test('what is sent is read as at most what was left, whatever the times', () => {
  fc.assert(
    fc.property(fc.double({ min: 1, max: 1e9, noNaN: true }), fc.nat(1_000), (leftMs, marginMs) => {
      const context = createContext({ deadlineAtMs: 1e6 + leftMs });
      const value = runInContext(context, () => remainingHeader({ clock: at(1e6), marginMs }));
      const read = parseRemaining(value);
      expect(read).toBeLessThanOrEqual(Math.max(1, leftMs - marginMs));
      expect(read).toBeGreaterThanOrEqual(1);
    }),
  );
  fc.assert(
    fc.property(fc.string(), (value) => {
      const read = parseRemaining(value);
      if (read !== undefined) expect(Number.isInteger(read) && read >= 1 && read <= 99_999_999).toBe(true);
    }),
  );
});
