import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeSeen, encodeSeen, maxSeenBytes } from './seen-codec.ts';
import { maxTokenLength, seenSecretProblems, seenTokens } from './seen-token.ts';
import { Seen } from './seen.ts';

const aPosition = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });
const aName = fc.oneof(fc.constantFrom('orders', 'a'), fc.string({ unit: 'binary', maxLength: 80 }));
const aStep = fc.record({
  kind: fc.constantFrom('written', 'read', 'unknown', 'time'),
  database: aName,
  epoch: fc.constantFrom('1.a', '2.0b2f6a5e-6a0e-4a6b-9d1e-1c2d3e4f5a6b', '10.7301234567890123456'),
  at: aPosition,
  atMs: fc.nat(1_700_000_000_000),
  tags: fc.array(fc.string({ unit: 'binary', maxLength: 60 }), { maxLength: 12 }),
});
const aSeen = (maxLength: number): fc.Arbitrary<Seen> =>
  fc.array(aStep, { maxLength }).map((steps) => {
    const seen = new Seen();
    for (const { kind, database, epoch, at, atMs, tags } of steps) {
      if (kind === 'written') seen.noteWritten(database, epoch, at, tags);
      else if (kind === 'read') seen.noteRead(database, epoch, at);
      else if (kind === 'time') seen.noteWroteAt(database, atMs);
      else seen.noteUnknown(database);
    }
    return seen;
  });

const facts = (seen: Seen): object =>
  [...seen.databases].map((name) => {
    const mark = seen.mark(name);
    const positions = mark && { epoch: mark.epoch, written: mark.written, read: mark.read };
    return [
      name,
      positions,
      seen.isUnknown(name),
      seen.hasDroppedTags(name),
      seen.touchedTags(name),
      seen.wroteAtMs(name),
    ];
  });

const secret = 'a secret of at least thirty-two characters';
const other = 'another secret of thirty-two characters, or more';

describe('a token', () => {
  test('is read as it was written, and written the same again', () => {
    fc.assert(
      fc.property(aSeen(6), (seen) => {
        const bytes = encodeSeen(seen);
        fc.pre(bytes === undefined || bytes.length < maxSeenBytes - 700);
        for (const tokens of [seenTokens(), seenTokens(secret)]) {
          const token = tokens.write(seen);
          const read = token === undefined ? new Seen() : tokens.read(token);
          expect(read && facts(read)).toEqual(facts(seen));
          expect(read && encodeSeen(read)).toEqual(bytes);
        }
      }),
    );
  });

  test('is never longer than its bound, and whatever was lost for it costs reads of the primary only', () => {
    fc.assert(
      fc.property(aSeen(200), (seen) => {
        const tokens = seenTokens(secret);
        const token = tokens.write(seen) ?? '';
        expect(token.length).toBeLessThanOrEqual(maxTokenLength);
        const read = tokens.read(token) ?? new Seen();
        for (const name of read.databases) {
          // When something was written is kept; nothing that was unknown is known now, and no tag is older than it was.
          expect(read.wroteAtMs(name)).toBe(seen.wroteAtMs(name));
          if (seen.isUnknown(name)) expect(read.isUnknown(name)).toBe(true);
          if (read.isUnknown(name)) continue;
          expect(read.mark(name)).toMatchObject({
            written: seen.mark(name)?.written,
            read: seen.mark(name)?.read,
          });
          for (const { tag, written } of seen.touchedTags(name))
            expect(read.tagFloor(name, [tag]) >= written).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('loses tags before positions, and positions before what is unknown', () => {
    const seen = new Seen();
    for (let tag = 0; tag < 30; tag += 1) seen.noteWritten('db', '1.a', 7n, [`${'long '.repeat(20)}${tag}`]);
    seen.noteUnknown('db');
    const read = decodeSeen(encodeSeen(seen) as Buffer) as Seen;
    expect(read.mark('db')).toMatchObject({ written: 7n });
    expect([read.hasDroppedTags('db'), read.isUnknown('db')]).toEqual([true, true]);
    for (let count = 0; count < 40; count += 1) seen.noteRead(`${'x'.repeat(40)}${count}`, '1.a', 9n);
    const bare = decodeSeen(encodeSeen(seen) as Buffer) as Seen;
    expect([...bare.databases]).toContain('db');
    expect([...bare.databases].every((name) => bare.isUnknown(name))).toBe(true);
  });

  test('is the first of many databases of which nothing is known, where not all fit', () => {
    const seen = new Seen();
    for (let count = 0; count < 90; count += 1) seen.noteRead(`${'x'.repeat(60)}${count}`, '1.a', 9n);
    seen.noteUnknown('last');
    expect(decodeSeen(encodeSeen(seen) as Buffer)?.isUnknown('last')).toBe(true);
  });
});

describe('what is no token', () => {
  test('is not read, and never thrown about', () => {
    const all = [seenTokens(), seenTokens(secret)];
    const near = fc
      .tuple(aSeen(4), fc.nat(), fc.integer({ min: 1, max: 255 }))
      .filter(([seen]) => encodeSeen(seen) !== undefined);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.string({ unit: 'binary' }), (random, text) => {
        for (const tokens of all) {
          expect(tokens.read(text)).toBeUndefined();
          tokens.read(Buffer.from(random).toString('base64url'));
          tokens.read(Buffer.from([1, ...random]).toString('base64url'));
          expect(all[1]?.read(Buffer.from([2, ...random]).toString('base64url'))).toBeUndefined();
        }
      }),
    );
    fc.assert(
      fc.property(near, ([seen, at, change]) => {
        const bytes = encodeSeen(seen) as Buffer;
        // Cut, longer, or with another byte: none, or another token that is whole.
        for (const length of [at % bytes.length, bytes.length - 1])
          expect(decodeSeen(bytes.subarray(0, length))).satisfy(
            (read: Seen | undefined) => read === undefined || encodeSeen(read)?.length === length,
          );
        expect(decodeSeen(Buffer.concat([bytes, Buffer.of(0)]))).toBeUndefined();
        const changed = Buffer.from(bytes);
        changed[at % bytes.length] = (changed[at % bytes.length] as number) ^ change;
        const read = decodeSeen(changed);
        if (read !== undefined) expect(encodeSeen(read)).toEqual(changed);
        const sealed = Buffer.from(all[1]?.write(seen) ?? '', 'base64url');
        sealed[at % sealed.length] = (sealed[at % sealed.length] as number) ^ change;
        expect(all[1]?.read(sealed.toString('base64url'))).toBeUndefined();
      }),
    );
  });

  test('is one that was not sealed, or with a secret that is not ours', () => {
    const seen = new Seen();
    seen.noteWritten('db', '1.a', 7n);
    const plain = seenTokens().write(seen) ?? '';
    const old = seenTokens(other).write(seen) ?? '';
    expect(seenTokens(secret).read(plain)).toBeUndefined();
    expect(seenTokens(secret).read(old)).toBeUndefined();
    expect(seenTokens().read(old)).toBeUndefined();
    const rotated = seenTokens([secret, other]);
    expect(rotated.read(old)?.mark('db')).toMatchObject({ written: 7n });
    expect(
      seenTokens(secret)
        .read(rotated.write(seen) ?? '')
        ?.mark('db'),
    ).toMatchObject({ written: 7n });
    expect(rotated.write(seen)).not.toBe(rotated.write(seen));
  });

  test('a secret has at least 32 characters', () => {
    for (const good of [undefined, secret, [secret, other]])
      expect(seenSecretProblems(good, 'secret')).toEqual([]);
    for (const bad of ['short', [], [secret, 'short']])
      expect(seenSecretProblems(bad, 'secret')).toHaveLength(1);
  });
});
