import { expect, test } from 'vitest';
import { recordable } from './recordable.ts';

test('what JSON keeps as it is is recorded as a copy; what would come back as something else is refused', () => {
  const given = { a: [1, null, { b: 'c' }], left: undefined };
  expect(recordable(given, 'it')).toEqual({ a: [1, null, { b: 'c' }] });
  expect(recordable(undefined, 'it')).toBeUndefined();
  expect(() => recordable({ at: { on: new Date(0) } }, 'result of bank.charge')).toThrowError(
    expect.objectContaining({
      code: 'PL_PAYLOAD_INVALID',
      message: expect.stringMatching(
        /^result of bank\.charge: at\.on is an instance of Date, which would come back as text/,
      ),
    }),
  );
  expect(() => recordable({ n: Number.NaN }, 'it')).toThrow('is not JSON');
});
