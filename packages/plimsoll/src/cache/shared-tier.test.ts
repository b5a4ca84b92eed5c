import { expect, test } from 'vitest';
import { systemClock } from '../kernel/clock.ts';
import { PendingInvalidations } from './pending.ts';
import type { SharedTable } from './shared-store.ts';
import { SharedTier } from './shared-tier.ts';

const tag = (name: string, floor = '') => ({ keys: [], tags: [name], everything: false, floor });

test('what two calls have added to is done when both have landed', () => {
  const pending = new PendingInvalidations();
  const first = pending.add(tag('a'));
  const second = pending.add(tag('a'));
  pending.landed(first);
  expect(pending.has('k', ['a'])).toBe(true);
  pending.landed(second);
  expect(pending.has('k', ['a'])).toBe(false);
});

test('too many become one of everything, with the latest floor', () => {
  const pending = new PendingInvalidations();
  pending.add(tag('a', '5'));
  for (let n = 0; n <= 10_000; n += 1) pending.add(tag(`t${n}`));
  expect(pending.size).toBeLessThan(10);
  expect(pending.has('any key', ['any tag'])).toBe(true);
  const { remembered, invalidations } = pending.all();
  expect(invalidations).toContainEqual({ keys: [], tags: [], everything: true, floor: '5' });
  pending.landed(remembered);
  expect(pending.has('any key', ['any tag'])).toBe(false);
});

/** A table whose answers come when they are told to. */
function heldTable() {
  const held: { name: string; answer: (value?: unknown) => void; fail: () => void }[] = [];
  const hold = (name: string) => (): Promise<never> => {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    held.push({ name, answer: resolve, fail: () => reject(new Error('refused')) });
    return promise as Promise<never>;
  };
  const table: SharedTable = {
    read: hold('read'),
    fill: hold('fill'),
    invalidate: hold('invalidate'),
    renew: hold('renew'),
    release: hold('release'),
  };
  const tier = new SharedTier({
    table,
    name: 'held',
    clock: systemClock,
    scope: {},
    softMs: 20,
    hardMs: 60_000,
  });
  return { held, tier };
}

test('an answer that comes too late is not waited for, and the right to load that came with it is given back', async () => {
  const { held, tier } = heldTable();
  const lease = { owner: 'me', forMs: 1_000, belowMs: 0 };
  expect(await tier.read({ key: 'k', tags: ['a'], atLeast: '', keepMs: 1, lease })).toBeUndefined();
  held[0]!.answer({ value: undefined, versions: [], floor: '', leased: true, failedForMs: 0 });
  await expect.poll(() => held.map(({ name }) => name), { timeout: 10_000 }).toEqual(['read', 'release']);
  expect(tier.health).toBe('up');
  held[1]!.answer();
});

test('while an invalidation is under way, what it names is not read, and everything else is', async () => {
  const { held, tier } = heldTable();
  const done = tier.invalidate(tag('a'));
  expect(await tier.read({ key: 'k', tags: ['a'], atLeast: '', keepMs: 1 })).toBeUndefined();
  const other = tier.read({ key: 'k', tags: ['b'], atLeast: '', keepMs: 1 });
  expect(held.map(({ name }) => name)).toEqual(['invalidate', 'read']);
  held[0]!.answer();
  expect(await done).toBe(true);
  void tier.read({ key: 'k', tags: ['a'], atLeast: '', keepMs: 1 });
  expect(held).toHaveLength(3);
  for (const each of held)
    each.answer({ versions: [], floor: '', leased: false, failedForMs: 0, value: undefined });
  await other;
});

test('three failures in a row, and it is asked no more for a while; an invalidation is tried again by itself', async () => {
  const { held, tier } = heldTable();
  for (let n = 0; n < 3; n += 1) {
    const asked = tier.read({ key: 'k', tags: ['b'], atLeast: '', keepMs: 1 });
    held[n]!.fail();
    expect(await asked).toBeUndefined();
  }
  expect(tier.health).toBe('down');
  expect(await tier.read({ key: 'k', tags: ['b'], atLeast: '', keepMs: 1 })).toBeUndefined();
  expect(await tier.invalidate(tag('a'))).toBe(false);
  expect([held.length, tier.pending]).toEqual([3, 1]);
  await expect.poll(() => held.length, { timeout: 10_000 }).toBe(4);
  held[3]!.answer();
  await expect.poll(() => [tier.pending, tier.health], { timeout: 10_000 }).toEqual([0, 'up']);
});
