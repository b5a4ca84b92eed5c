import fc from 'fast-check';
import { expect, test } from 'vitest';
import { markOf, noMark, positionOf } from './position.ts';

const aPosition = fc.record({
  epoch: fc
    .tuple(fc.integer({ min: 1, max: 2 ** 31 }), fc.constantFrom('a', 'b3', 'x.y:z'))
    .map(([line, id]) => `${line}.${id}`),
  lsn: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
});

test('a position comes back from its mark, and marks sort as positions do', () => {
  fc.assert(
    fc.property(aPosition, aPosition, (one, other) => {
      expect(positionOf(markOf(one))).toEqual(one);
      expect(markOf(one) > noMark).toBe(true);
      if (one.epoch === other.epoch) expect(markOf(one) < markOf(other)).toBe(one.lsn < other.lsn);
      const [line, otherLine] = [one, other].map(({ epoch }) => Number.parseInt(epoch, 10));
      if (line !== otherLine) expect(markOf(one) < markOf(other)).toBe(line! < otherLine!);
    }),
  );
});
