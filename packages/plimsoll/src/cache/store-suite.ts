import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../kernel/clock.ts';
import { markOf, type Mark } from './position.ts';
import {
  nextVersion,
  type SharedAnswer,
  type SharedAsk,
  type SharedFill,
  type SharedInvalidation,
  type SharedStore,
  type SharedTable,
} from './shared-store.ts';

/** One promise of every {@link SharedStore}; rejects when the store breaks it. */
export interface SharedStoreCase {
  readonly name: string;
  run(store: SharedStore): Promise<void>;
}

const hour = 3_600_000;
const tags = ['a', 'b'];

const open = (store: SharedStore, name: string = randomUUID().slice(0, 8)): SharedTable =>
  store.open({ name, clock: systemClock, scope: {} });

const read = (table: SharedTable, ask: Partial<SharedAsk> = {}): Promise<SharedAnswer> =>
  table.read({ key: 'k', tags, atLeast: '', keepMs: hour, ...ask });

const lease = (owner: string, more: { forMs?: number; belowMs?: number } = {}): Partial<SharedAsk> => ({
  lease: { owner, forMs: hour, belowMs: 0, ...more },
});

const fill = (
  table: SharedTable,
  { versions }: Pick<SharedAnswer, 'versions'>,
  more: Partial<SharedFill> = {},
): Promise<boolean> =>
  table.fill({
    key: 'k',
    tags,
    versions,
    data: 'data',
    mark: '',
    freshMs: hour,
    keepMs: hour,
    costMs: 7,
    owner: 'nobody',
    ...more,
  });

const invalidate = (table: SharedTable, more: Partial<SharedInvalidation>): Promise<void> =>
  table.invalidate({ keys: [], tags: [], everything: false, floor: '', ...more });

const mark = (lsn: bigint): Mark => markOf({ epoch: '1.x', lsn });

const ways: readonly (readonly [string, Partial<SharedInvalidation>, readonly number[]])[] = [
  ['everything', { everything: true }, [0]],
  ['the key', { keys: ['k'] }, [1]],
  ['a tag', { tags: ['b'] }, [3]],
  ['all of it', { everything: true, keys: ['k'], tags: ['a', 'b'] }, [0, 1, 2, 3]],
];

async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + 10_000;
  while (!(await holds())) {
    assert.ok(performance.now() < untilMs, `not within 10 s: ${what}`);
    await delay(5);
  }
}

/** What every store must do, whatever keeps its values. */
export const sharedStoreSuite: readonly SharedStoreCase[] = [
  {
    name: 'what was never asked for has versions from then on, and no value',
    async run(store) {
      const table = open(store);
      const first = await read(table);
      assert.deepEqual([first.value, first.floor, first.leased], [undefined, '', false]);
      assert.equal(first.versions.length, 4);
      for (const version of first.versions) assert.match(version, /^[1-9]\d{0,18}$/);
      assert.deepEqual((await read(table)).versions, first.versions);
      assert.notEqual((await read(open(store))).versions[0], first.versions[0]);
    },
  },
  {
    name: 'a value comes back as it was filled',
    async run(store) {
      const table = open(store);
      const data = '{"ü":"\\u0000","n":[1,2.5,null]} \u{1f600}';
      assert.equal(await fill(table, await read(table), { data, mark: mark(5n) }), true);
      const { value } = await read(table);
      assert.deepEqual([value?.data, value?.mark, value?.costMs], [data, mark(5n), 7]);
      const freshForMs = value?.freshForMs ?? 0;
      assert.ok(freshForMs > 0.9 * hour && freshForMs <= hour, `fresh for ${freshForMs}`);
    },
  },
  {
    name: 'an invalidation adds one to each version it names, and to no other; the value is gone',
    async run(store) {
      for (const [way, what, places] of ways) {
        const table = open(store);
        const before = await read(table);
        await fill(table, before);
        await invalidate(table, what);
        const after = await read(table);
        assert.equal(after.value, undefined, way);
        const expected = before.versions.map((version, at) =>
          places.includes(at) ? nextVersion(version) : version,
        );
        assert.deepEqual(after.versions, expected, way);
      }
    },
  },
  {
    name: 'a fill that began before an invalidation is refused; one that began after is not',
    async run(store) {
      for (const [way, what] of ways) {
        const table = open(store);
        const before = await read(table);
        await invalidate(table, what);
        assert.equal(await fill(table, before), false, way);
        const after = await read(table);
        assert.equal(after.value, undefined, way);
        assert.equal(await fill(table, after), true, way);
        assert.equal((await read(table)).value?.data, 'data', way);
      }
    },
  },
  {
    name: 'a refused fill leaves the value of a later one',
    async run(store) {
      const table = open(store);
      const before = await read(table);
      await invalidate(table, { tags: ['a'] });
      await fill(table, await read(table), { data: 'new' });
      assert.equal(await fill(table, before, { data: 'old' }), false);
      assert.equal((await read(table)).value?.data, 'new');
    },
  },
  {
    name: 'of a fill and an invalidation at once, the fill is never answered afterwards',
    async run(store) {
      const table = open(store);
      for (let n = 0; n < 30; n += 1) {
        const before = await read(table);
        const what = ways[n % ways.length]?.[1] ?? {};
        await Promise.all([fill(table, before, { data: `${n}` }), invalidate(table, what)]);
        assert.equal((await read(table)).value, undefined);
      }
    },
  },
  {
    name: 'other keys, and the tags of others, are left alone',
    async run(store) {
      const table = open(store);
      await fill(table, await read(table));
      await invalidate(table, { keys: ['other', 'a'], tags: ['k', 'c'] });
      assert.equal((await read(table)).value?.data, 'data');
    },
  },
  {
    name: 'the floor is the latest position that any of it was invalidated at',
    async run(store) {
      const table = open(store);
      await invalidate(table, { tags: ['a'], floor: mark(20n) });
      await invalidate(table, { tags: ['a'], floor: mark(10n) });
      await invalidate(table, { tags: ['b'] });
      assert.equal((await read(table)).floor, mark(20n));
      await invalidate(table, { keys: ['k'], floor: mark(300n) });
      assert.equal((await read(table)).floor, mark(300n));
      assert.equal((await read(table, { key: 'other' })).floor, mark(20n));
    },
  },
  {
    name: 'a value that reflects less than is asked for counts as none',
    async run(store) {
      const table = open(store);
      await fill(table, await read(table), { mark: mark(20n) });
      assert.equal((await read(table, { atLeast: mark(20n) })).value?.data, 'data');
      const asked = await read(table, { atLeast: mark(21n), ...lease('one') });
      assert.deepEqual([asked.value, asked.leased], [undefined, true]);
      assert.equal((await read(table)).value?.data, 'data');
    },
  },
  {
    name: 'a value is stale when its time is over, and gone when it is kept no longer',
    async run(store) {
      const table = open(store);
      await fill(table, await read(table), { freshMs: 1, keepMs: hour });
      await eventually('it is stale', async () => ((await read(table)).value?.freshForMs ?? 1) < 0);
      assert.equal((await read(table)).value?.data, 'data');
      await fill(table, await read(table), { freshMs: 1, keepMs: 2 });
      await eventually('it is gone', async () => (await read(table)).value === undefined);
    },
  },
  {
    name: 'of many who ask for the right to load one gets it, until it gives it back or fills',
    async run(store) {
      const table = open(store);
      const asked = await Promise.all(Array.from({ length: 32 }, (_, n) => read(table, lease(`o${n}`))));
      const winners = asked.flatMap(({ leased }, n) => (leased ? [`o${n}`] : []));
      assert.equal(winners.length, 1);
      const [winner = ''] = winners;
      await table.release('k', 'somebody else');
      assert.equal((await read(table, lease('two'))).leased, false);
      await table.release('k', winner);
      assert.equal((await read(table, lease('two'))).leased, true);
      await fill(table, await read(table), { freshMs: 1, keepMs: 2, owner: 'two' });
      await eventually('it is to be loaded again', async () => (await read(table)).value === undefined);
      assert.equal((await read(table, lease('three'))).leased, true);
    },
  },
  {
    name: 'the right to load ends with its time, and with an invalidation',
    async run(store) {
      const table = open(store);
      assert.equal((await read(table, lease('one', { forMs: 30 }))).leased, true);
      await eventually('its time is over', async () => (await read(table, lease('two'))).leased);
      assert.equal((await read(table, lease('three'))).leased, false);
      await invalidate(table, { tags: ['b'] });
      assert.equal((await read(table, lease('three'))).leased, true);
      // Whose right has ended may not end that of the next.
      await table.release('k', 'two');
      assert.equal((await read(table, lease('four'))).leased, false);
    },
  },
  {
    name: 'who has the right to load may have it for longer, and nobody else may',
    async run(store) {
      const table = open(store);
      await read(table, lease('one', { forMs: 1 }));
      assert.equal(await table.renew('k', 'one', hour), true);
      assert.equal(await table.renew('k', 'two', hour), false);
      assert.equal((await read(table, lease('two'))).leased, false);
      await table.release('k', 'one');
      assert.equal(await table.renew('k', 'one', hour), false);
      assert.equal((await read(table, lease('two'))).leased, true);
    },
  },
  {
    name: 'after a load that failed nobody gets the right to load, for as long as was said or until an invalidation',
    async run(store) {
      const table = open(store);
      const asked = await read(table, lease('one'));
      assert.deepEqual([asked.leased, asked.failedForMs], [true, 0]);
      await table.release('k', 'somebody else', hour);
      assert.equal((await read(table, lease('two'))).failedForMs, 0);
      await table.release('k', 'one', hour);
      const refused = await read(table, lease('two'));
      assert.equal(refused.leased, false);
      assert.ok(refused.failedForMs > 0.9 * hour && refused.failedForMs <= hour, `${refused.failedForMs}`);
      // Who does not ask for it is told nothing of it, and nobody has it to renew.
      assert.equal((await read(table)).failedForMs, 0);
      assert.equal(await table.renew('k', 'one', 1), false);
      await invalidate(table, { tags: ['b'] });
      assert.equal((await read(table, lease('two'))).leased, true);
      await table.release('k', 'two', 2);
      await eventually('its time is over', async () => (await read(table, lease('three'))).leased);
    },
  },
  {
    name: 'a value that is there is answered though a later load failed',
    async run(store) {
      const table = open(store);
      await fill(table, await read(table), { freshMs: 60_000 });
      assert.equal((await read(table, lease('one', { belowMs: 60_000 }))).leased, true);
      await table.release('k', 'one', hour);
      const asked = await read(table, lease('two'));
      assert.deepEqual([asked.value?.data, asked.leased, asked.failedForMs], ['data', false, 0]);
      assert.ok((await read(table, lease('two', { belowMs: 60_000 }))).failedForMs > 0);
    },
  },
  {
    name: 'nobody gets the right to load what is fresh for longer than he asks',
    async run(store) {
      const table = open(store);
      await fill(table, await read(table), { freshMs: 60_000 });
      assert.equal((await read(table, lease('one'))).leased, false);
      assert.equal((await read(table, lease('one', { belowMs: 1_000 }))).leased, false);
      assert.equal((await read(table, lease('one', { belowMs: 60_000 }))).leased, true);
    },
  },
  {
    name: 'keys and tags may be anything',
    async run(store) {
      const table = open(store);
      const names = ['', ' ', '\0', '\ud800', '{a}b', "'; drop table --", '1:2', 'ü', '*', '__proto__'];
      names.push('x'.repeat(5_000), `${'x'.repeat(5_000)}y`);
      for (const [n, name] of names.entries()) {
        const ask = { key: name, tags: [name] };
        assert.equal(await fill(table, await read(table, ask), { ...ask, data: `${n}` }), true);
      }
      const gone = 'x'.repeat(5_000);
      await invalidate(table, { tags: [gone] });
      for (const [n, name] of names.entries()) {
        const { value } = await read(table, { key: name, tags: [name] });
        assert.equal(value?.data, name === gone ? undefined : `${n}`, JSON.stringify(name.slice(0, 9)));
      }
    },
  },
  {
    name: 'a large value comes back whole',
    async run(store) {
      const table = open(store);
      const data = 'ü'.repeat(200_000);
      await fill(table, await read(table), { data });
      assert.equal((await read(table)).value?.data, data);
    },
  },
  {
    name: 'caches of one name share all of it, those of other names nothing',
    async run(store) {
      const name = randomUUID().slice(0, 8);
      const [one, same, other] = [open(store, name), open(store, name), open(store)];
      await fill(one, await read(one));
      assert.equal((await read(same)).value?.data, 'data');
      assert.equal((await read(other)).value, undefined);
      await invalidate(other, { everything: true, tags });
      assert.equal((await read(one)).value?.data, 'data');
      await invalidate(same, { tags: ['a'] });
      assert.equal((await read(one)).value, undefined);
    },
  },
];
