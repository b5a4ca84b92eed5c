import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { maxTouchedTags, Seen } from '../kernel/seen.ts';
import type { SeenStore } from './seen-store.ts';

/** One promise of every {@link SeenStore}; rejects when the store breaks it. */
export interface SeenStoreCase {
  readonly name: string;
  run(store: SeenStore): Promise<void>;
}

const hour = 3_600_000;

function written(at: bigint, tags: readonly string[] = [], epoch = '1.a', database = 'db'): Seen {
  const seen = new Seen();
  seen.noteWritten(database, epoch, at, tags);
  return seen;
}

/** All that anybody asks of it. */
export function seenFacts(seen: Seen): unknown {
  return [...seen.databases].toSorted().map((database) => {
    const { epoch, written: wrote = 0n, read = 0n } = seen.mark(database) ?? {};
    const tags = seen.touchedTags(database).map(({ tag, written: at }) => `${at} ${tag}`);
    const isMarked = wrote > 0n || read > 0n;
    return [
      database,
      isMarked ? [epoch, wrote, read, seen.hasDroppedTags(database), tags.toSorted()] : undefined,
      seen.mayHaveWritten(database),
      seen.wroteAtMs(database),
    ];
  });
}

const joined = (...parts: readonly Seen[]): Seen => {
  const all = new Seen();
  for (const part of parts) all.mergeAll(part);
  return all;
};

async function holds(store: SeenStore, id: string, expected: Seen): Promise<void> {
  assert.deepEqual(seenFacts(await store.read(id)), seenFacts(expected));
}

async function becomes(store: SeenStore, id: string, isSo: (seen: Seen) => boolean): Promise<void> {
  const until = performance.now() + 10_000;
  while (!isSo(await store.read(id))) {
    assert.ok(performance.now() < until, 'not within ten seconds');
    await delay(5);
  }
}

/** What every store must do, whatever keeps it. */
export const seenStoreSuite: readonly SeenStoreCase[] = [
  {
    name: 'gives back what was merged, and nothing of other ids',
    async run(store) {
      const id = randomUUID();
      await holds(store, id, new Seen());
      const seen = written(2n ** 64n - 1n, ['products', 'product:7']);
      seen.noteRead('db', '1.a', 2n ** 53n + 1n);
      seen.noteRead('other', '4294967295.b', 1n);
      await store.merge(id, seen, hour);
      await holds(store, id, seen);
      await holds(store, `${id}x`, new Seen());
      await store.merge(id, new Seen(), hour);
      await holds(store, id, seen);
    },
  },
  {
    name: 'an answer that arrives late lowers nothing',
    async run(store) {
      const id = randomUUID();
      const [late, early] = [written(9n, ['a']), written(5n, ['a', 'b'])];
      late.noteRead('db', '1.a', 3n);
      early.noteRead('db', '1.a', 7n);
      await store.merge(id, late, hour);
      await store.merge(id, early, hour);
      await holds(store, id, joined(late, early));
      assert.equal((await store.read(id)).tagFloor('db', ['a']), 9n);
    },
  },
  {
    name: 'when something was written is kept, is the latest, and outlives a history',
    async run(store) {
      const id = randomUUID();
      const parts = [1_700_000_000_123, 1_700_000_000_125, 1_700_000_000_124].map((atMs, n) => {
        const seen = written(7n, [], `${n + 1}.a`);
        seen.noteWroteAt('db', atMs);
        return seen;
      });
      for (const part of parts) await store.merge(id, part, hour);
      await store.merge(id, written(9n, [], '9.a'), hour);
      await holds(store, id, joined(...parts, written(9n, [], '9.a')));
      assert.equal((await store.read(id)).wroteAtMs('db'), 1_700_000_000_125);
    },
  },
  {
    name: 'many merges at once end with the join of all',
    async run(store) {
      const id = randomUUID();
      const parts = Array.from({ length: 60 }, (_, n) =>
        written(BigInt((n * 37) % 60) + 1n, [`tag:${n % 20}`], '1.a', n % 3 === 0 ? 'other' : 'db'),
      );
      await Promise.all(parts.map((part) => store.merge(id, part, hour)));
      await holds(store, id, joined(...parts));
    },
  },
  {
    name: 'a later history replaces, an earlier one is nothing, and two of one timeline have an order',
    async run(store) {
      for (const epochs of [
        ['9.z', '10.a'],
        ['10.a', '9.z'],
        ['2.a', '2.b'],
        ['2.b', '2.a'],
        ['2.B', '2.a'],
      ]) {
        const id = randomUUID();
        const parts = epochs.map((epoch, n) => written(BigInt(9 - n), [`tag:${n}`], epoch));
        for (const part of parts) await store.merge(id, part, hour);
        await holds(store, id, joined(...parts));
      }
    },
  },
  {
    name: 'tags are bounded: too many are dropped, together or one by one, until another history begins',
    async run(store) {
      const id = randomUUID();
      const tags = Array.from({ length: maxTouchedTags + 1 }, (_, n) => `tag:${n}`);
      const parts = tags.map((tag, n) => written(BigInt(n + 1), [tag]));
      for (const part of parts.slice(0, maxTouchedTags)) await store.merge(id, part, hour);
      assert.equal((await store.read(id)).touchedTags('db').length, maxTouchedTags);
      for (const part of parts.slice(maxTouchedTags)) await store.merge(id, part, hour);
      await holds(store, id, joined(...parts));
      assert.equal((await store.read(id)).hasDroppedTags('db'), true);
      await store.merge(id, written(99n, ['again']), hour);
      await holds(store, id, joined(...parts, written(99n, ['again'])));
      await store.merge(id, written(1n, ['new'], '2.a'), hour);
      await holds(store, id, written(1n, ['new'], '2.a'));
    },
  },
  {
    name: 'names and tags may be any text',
    async run(store) {
      const id = randomUUID();
      const odd = ['', '\u0000', '"', '\\', "'", 'ä\u{1f600}', '\ud800', '{}', '__proto__', 'constructor'];
      const parts = odd.map((text, n) => written(BigInt(n + 1), odd, '1.a', text));
      for (const part of parts) await store.merge(id, part, hour);
      await holds(store, id, joined(...parts));
    },
  },
  {
    name: 'an unknown outcome is kept beside the positions, through a later history, and ends with its time',
    async run(store) {
      const id = randomUUID();
      const unknown = new Seen();
      unknown.noteUnknown('db');
      await store.merge(id, unknown, hour);
      await holds(store, id, unknown);
      const later = written(7n, [], '2.a');
      await store.merge(id, later, hour);
      await holds(store, id, joined(unknown, later));
      const short = randomUUID();
      await store.merge(short, written(5n), hour);
      await store.merge(short, unknown, 150);
      await becomes(store, short, (seen) => !seen.isUnknown('db'));
      await holds(store, short, written(5n));
    },
  },
  {
    name: 'is forgotten in its time and not before, and a shorter time does not shorten',
    async run(store) {
      const [short, long] = [randomUUID(), randomUUID()];
      await store.merge(long, written(5n), hour);
      await store.merge(long, written(4n), 20);
      await store.merge(short, written(5n, ['old'], '3.a'), 150);
      await becomes(store, short, (seen) => seen.isEmpty);
      await holds(store, long, written(5n));
      // What has expired counts for nothing, its epoch neither.
      await store.merge(short, written(2n, ['new']), hour);
      await holds(store, short, written(2n, ['new']));
    },
  },
];
