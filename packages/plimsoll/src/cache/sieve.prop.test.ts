import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Entry } from './entry.ts';
import { cachePolicy } from './policy.ts';
import { Sieve } from './sieve.ts';

const policy = cachePolicy({ ttlMs: 1_000, tags: ['t'] });
const entry = (key: string, bytes: number): Entry =>
  new Entry({
    key,
    value: key,
    policy,
    slots: [],
    stamp: 0,
    shown: undefined,
    mark: '',
    bytes,
    flight: 0,
    freshUntilMs: 0,
    earlyMs: 0,
  });

/** SIEVE as its paper states it: a list from new to old, a hand that goes from old to new. */
class Model {
  list: { key: string; bytes: number; visited: boolean }[] = [];
  hand: string | undefined = undefined;
  readonly maxEntries: number;
  readonly maxBytes: number;
  constructor(maxEntries: number, maxBytes: number) {
    this.maxEntries = maxEntries;
    this.maxBytes = maxBytes;
  }
  get bytes(): number {
    return this.list.reduce((sum, { bytes }) => sum + bytes, 0);
  }
  hit(key: string): boolean {
    const found = this.list.find((each) => each.key === key);
    if (found !== undefined) found.visited = true;
    return found !== undefined;
  }
  drop(key: string): boolean {
    const at = this.list.findIndex((each) => each.key === key);
    if (at === -1) return false;
    if (this.hand === key) this.hand = this.list[at - 1]?.key;
    const [gone] = this.list.splice(at, 1);
    return gone!.visited;
  }
  put(key: string, bytes: number): void {
    const visited = this.drop(key);
    if (bytes > this.maxBytes) return;
    while (this.list.length >= this.maxEntries || this.bytes + bytes > this.maxBytes) this.evict();
    this.list.unshift({ key, bytes, visited });
  }
  evict(): void {
    let at =
      this.hand === undefined ? this.list.length - 1 : this.list.findIndex(({ key }) => key === this.hand);
    while (this.list[at]!.visited) {
      this.list[at]!.visited = false;
      at = at === 0 ? this.list.length - 1 : at - 1;
    }
    const gone = this.list[at]!.key;
    this.hand = gone;
    this.drop(gone);
  }
}

const aKey = fc.integer({ min: 0, max: 12 }).map(String);
const aStep = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('put' as const),
      key: aKey,
      bytes: fc.integer({ min: 1, max: 40 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('hit' as const), key: aKey }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), key: aKey }) },
);

test('keeps and evicts what SIEVE does, within its bounds, and tells of each that leaves', () => {
  fc.assert(
    fc.property(fc.array(aStep, { maxLength: 200 }), fc.integer({ min: 1, max: 8 }), (steps, maxEntries) => {
      const maxBytes = 100;
      const left = new Set<Entry>();
      const put = new Set<Entry>();
      const sieve = new Sieve({ maxEntries, maxBytes, onLeave: (gone) => void left.add(gone) });
      const model = new Model(maxEntries, maxBytes);
      for (const step of steps) {
        const kept = sieve.get(step.key);
        if (step.do === 'put') {
          const made = entry(step.key, step.bytes);
          if (sieve.put(made)) put.add(made);
          model.put(step.key, step.bytes);
        } else if (step.do === 'hit') {
          expect(kept !== undefined).toBe(model.hit(step.key));
          if (kept !== undefined) kept.visited = true;
        } else {
          if (kept !== undefined) sieve.delete(kept);
          model.drop(step.key);
        }
        expect(sieve.size).toBe(model.list.length);
        expect(sieve.bytes).toBe(model.bytes);
        for (const { key } of model.list) expect(sieve.get(key)?.key).toBe(key);
        expect(sieve.size).toBeLessThanOrEqual(maxEntries);
        expect(sieve.bytes).toBeLessThanOrEqual(maxBytes);
      }
      for (const each of put) expect(left.has(each)).toBe(sieve.get(each.key) !== each);
      sieve.clear();
      expect(left.size).toBe(put.size);
      expect([sieve.size, sieve.bytes]).toEqual([0, 0]);
    }),
  );
});
