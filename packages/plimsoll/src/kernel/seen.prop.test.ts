import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatLsn, maxTouchedTags, parseLsn, Seen, type Lsn } from './seen.ts';

const aPosition = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });
const anEpoch = fc.constantFrom('1.a', '2.a', '2.b', '10.a');
const aTag = fc.integer({ min: 0, max: 40 }).map((number) => `tag:${number}`);
const aStep = fc.oneof(
  fc.record({
    kind: fc.constant('written' as const),
    epoch: anEpoch,
    at: aPosition,
    tags: fc.array(aTag, { maxLength: 5 }),
  }),
  fc.record({ kind: fc.constant('read' as const), epoch: anEpoch, at: aPosition }),
);
type Step =
  | { kind: 'written'; epoch: string; at: Lsn; tags: string[] }
  | { kind: 'read'; epoch: string; at: Lsn };

function seenOf(steps: readonly Step[]): Seen {
  const seen = new Seen();
  for (const step of steps) {
    if (step.kind === 'written') seen.noteWritten('db', step.epoch, step.at, step.tags);
    else seen.noteRead('db', step.epoch, step.at);
  }
  return seen;
}

const allTags = Array.from({ length: 41 }, (_, number) => `tag:${number}`);
/** All that anybody asks of it. */
const facts = (seen: Seen): object => ({
  mark: seen.mark('db') && { ...seen.mark('db'), tags: undefined },
  dropped: seen.hasDroppedTags('db'),
  floors: allTags.map((tag) => seen.tagFloor('db', [tag])),
});
const merged = (...parts: readonly Seen[]): Seen => {
  const all = new Seen();
  for (const part of parts) all.mergeAll(part);
  return all;
};

describe('what a client has seen', () => {
  test('is the highest of each of the latest history', () => {
    fc.assert(
      fc.property(fc.array(aStep, { minLength: 1, maxLength: 30 }), (steps) => {
        const latest = ['1.a', '2.a', '2.b', '10.a'].findLast((epoch) =>
          steps.some((step) => step.epoch === epoch),
        );
        const highest = (kind: Step['kind']): Lsn =>
          steps.reduce(
            (most, step) => (step.kind === kind && step.epoch === latest && step.at > most ? step.at : most),
            0n,
          );
        expect(seenOf(steps).mark('db')).toMatchObject({
          epoch: latest,
          written: highest('written'),
          read: highest('read'),
        });
      }),
    );
  });

  test('merges in any order, and more than once, to the same', () => {
    const some = fc.array(aStep, { maxLength: 15 });
    fc.assert(
      fc.property(some, some, some, (a, b, c) => {
        const [one, two, three] = [seenOf(a), seenOf(b), seenOf(c)];
        const all = facts(merged(one, two, three));
        expect(facts(merged(three, one, two))).toEqual(all);
        expect(facts(merged(merged(one, two), merged(two, three), one))).toEqual(all);
      }),
    );
  });

  test('a tag that was touched is never older than its write, whatever was dropped', () => {
    fc.assert(
      fc.property(fc.array(aPosition, { minLength: 1, maxLength: 80 }), (positions) => {
        const seen = new Seen();
        for (const [index, at] of positions.entries()) seen.noteWritten('db', '1.a', at, [`tag:${index}`]);
        for (const [index, at] of positions.entries())
          expect(seen.tagFloor('db', [`tag:${index}`]) >= at).toBe(true);
        expect(seen.hasDroppedTags('db')).toBe(positions.length > maxTouchedTags);
        expect(seen.touchedTags('db').length).toBeLessThanOrEqual(maxTouchedTags);
        if (positions.length <= maxTouchedTags) expect(seen.tagFloor('db', ['other'])).toBe(0n);
      }),
    );
  });

  test('when it last wrote is the latest of all, through histories, and never still to come', () => {
    const some = fc.array(fc.tuple(anEpoch, fc.nat(1_000_000)), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(some, (writes) => {
        const parts = writes.map(([epoch, atMs]) => {
          const seen = seenOf([{ kind: 'written', epoch, at: 1n, tags: [] }]);
          seen.noteWroteAt('db', atMs);
          return seen;
        });
        const latest = Math.max(...writes.map(([, atMs]) => atMs));
        expect(merged(...parts).wroteAtMs('db')).toBe(latest);
        expect(merged(...parts.toReversed(), ...parts).wroteAtMs('db')).toBe(latest);
      }),
    );
    expect(seenOf([{ kind: 'read', epoch: '1.a', at: 1n }]).wroteAtMs('db')).toBeUndefined();
    const ahead = new Seen();
    ahead.noteWroteAt('db', Date.now() + 3_600_000);
    expect(merged(ahead).wroteAtMs('db')).toBeLessThanOrEqual(Date.now());
    const end = ahead.beginWrite('other');
    expect(ahead.wroteAtMs('other')).toBeGreaterThan(0);
    end();
    expect(ahead.wroteAtMs('other')).toBeUndefined();
  });

  test('an unknown outcome stays so until a position of a later write is noted, and through merging', () => {
    const seen = seenOf([{ kind: 'written', epoch: '1.a', at: 5n, tags: [] }]);
    seen.noteUnknown('db');
    seen.noteRead('db', '1.a', 9n);
    expect(merged(seenOf([]), seen).isUnknown('db')).toBe(true);
    expect(seen.isUnknown('db')).toBe(true);
    seen.noteWritten('db', '1.a', 7n);
    expect(seen.isUnknown('db')).toBe(false);
    expect(seen.isUnknown('other')).toBe(false);
  });

  test('a write that is under way is told to others as unknown, and changes nothing for its own reads', () => {
    const seen = seenOf([{ kind: 'written', epoch: '1.a', at: 5n, tags: [] }]);
    const ends = [seen.beginWrite('db'), seen.beginWrite('db'), seen.beginWrite('other')];
    expect(['db', 'other'].map((name) => [seen.mayHaveWritten(name), seen.isUnknown(name)])).toEqual([
      [true, false],
      [true, false],
    ]);
    expect([...seen.databases]).toEqual(['db', 'other']);
    ends[0]?.();
    expect(seen.mayHaveWritten('db')).toBe(true);
    for (const end of ends.slice(1)) end();
    expect([...seen.databases].map((name) => seen.mayHaveWritten(name))).toEqual([false]);
  });

  test('who is unsure of what was before reads the primary until his next write, and tells nobody', () => {
    const seen = seenOf([{ kind: 'read', epoch: '1.a', at: 5n }]);
    seen.noteUnsure();
    seen.noteRead('db', '2.a', 1n);
    seen.noteRead('other', '1.a', 1n);
    for (const name of ['db', 'other', 'third']) {
      expect([seen.isUnknown(name), seen.mayHaveWritten(name)]).toEqual([true, false]);
      seen.noteWritten(name, '2.a', 9n);
      expect(seen.isUnknown(name)).toBe(false);
    }
    seen.noteUnknown('db');
    expect(seen.mayHaveWritten('db')).toBe(true);
  });

  test('a position is read as it is printed, and nothing else is one', () => {
    fc.assert(
      fc.property(aPosition, (at) => {
        expect(parseLsn(formatLsn(at))).toBe(at);
      }),
    );
    expect(formatLsn(0x16_b374_d848n)).toBe('16/B374D848');
    for (const text of ['', '16', '16/', '/1', '1/123456789', '1/G', ' 1/1', '1/1 '])
      expect(parseLsn(text)).toBeUndefined();
  });
});
