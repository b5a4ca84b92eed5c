import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import type { Purger } from '../http-cache/purger.ts';
import { requestPurger } from '../http-cache/request-purger.ts';
import { background, type BackgroundMessage } from '../kernel/channels.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { stress } from '../testing/stress.ts';
import { createCache } from './create-cache.ts';
import { recordInvalidation, type RecordedInvalidation } from './invalidation-rows.ts';
import { cacheMigrations } from './migrations.ts';
import { cachePolicy } from './policy.ts';
import { createInvalidationRelay, type InvalidationRelay, type InvalidationRelayOptions } from './relay.ts';

let server: TestDatabase;
let database: Database;
/** A cache outside, over HTTP: it is up, refuses, or never answers. */
let outside: Server;
let url: string;
let mood: 'up' | 'down' | 'silent';
/** Tags of each purge that it was asked for, whatever it answered. */
let asked: string[][];
let purged: string[][];
const running: InvalidationRelay[] = [];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, [cacheMigrations]);
  outside = createServer((request, response) => {
    const tags = String(request.headers['surrogate-key']).split(' ').toSorted();
    asked.push(tags);
    if (mood === 'silent') return;
    if (mood === 'up') purged.push(tags);
    response.writeHead(mood === 'up' ? 200 : 403).end();
  });
  await new Promise<void>((resolve) => void outside.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(outside.address() as AddressInfo).port}`;
});
beforeEach(() => {
  mood = 'up';
  asked = [];
  purged = [];
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((relay) => relay.stop()));
  await database.execute(sql`truncate plimsoll.invalidation, plimsoll.purge`);
});
afterAll(async () => {
  outside.closeAllConnections();
  outside.close();
  await database.close();
  await server.drop();
});

const policy = cachePolicy({ ttlMs: 3_600_000, tags: ['t'] });
const purgerOf = (name = 'outside'): Purger => requestPurger({ name, urls: [url] });
function relayOf(options: Partial<InvalidationRelayOptions> = {}): InvalidationRelay {
  const relay = createInvalidationRelay({
    database,
    caches: [createCache({ name: 'shop' })],
    pollMs: 10,
    olderThanMs: 0,
    purgeAgainMs: 0,
    purgers: [purgerOf()],
    ...options,
  });
  running.push(relay);
  return relay;
}
const record = (...tags: string[]): Promise<RecordedInvalidation> =>
  database.transaction((tx) => recordInvalidation(tx, 'shop', { tags }));
async function counts(): Promise<{ invalidations: number; purges: number }> {
  return await database.one(sql`select (select count(*)::int from plimsoll.invalidation) as invalidations,
    (select count(*)::int from plimsoll.purge) as purges`);
}
const soon = { timeout: 20_000 };
const nothing = { invalidations: 0, purges: 0 };

describe('a purge', () => {
  test('of a writer that died after its commit is made by another process', async () => {
    // No `published`: the writer ends with its COMMIT.
    await record('product:1', 'products');
    await relayOf().start();
    await expect.poll(counts, soon).toEqual(nothing);
    expect(purged).toEqual([['product:1', 'products']]);
  });

  test('that a process took and died over is made by another one', async () => {
    const { promise: never } = Promise.withResolvers<void>();
    let taken = 0;
    const dying: Purger = { name: 'outside', purge: () => ((taken += 1), never) };
    const dead = createInvalidationRelay({
      database,
      caches: [createCache({ name: 'shop' })],
      pollMs: 10,
      olderThanMs: 0,
      purgers: [dying],
      purgeLeaseMs: 300,
    });
    await dead.start();
    await record('product:1');
    await expect.poll(() => taken, soon).toBe(1);
    // It never comes back from its purge, and takes nothing else.
    void dead.stop();
    await relayOf().start();
    await expect.poll(() => purged, soon).toContainEqual(['product:1']);
    await expect.poll(counts, soon).toEqual(nothing);
  });

  test('goes out only when the inner tiers have been told', async () => {
    const told: string[] = [];
    let isUp = false;
    const cache = {
      name: 'shop',
      invalidate: () => {
        told.push('inner');
        return Promise.resolve(isUp);
      },
      clear: () => Promise.resolve(isUp),
    };
    const purger: Purger = { name: 'outside', purge: () => Promise.resolve(void told.push('outside')) };
    const relay = relayOf({ caches: [cache], purgers: [purger] });
    await record('t');
    await relay.start();
    // The shared tier cannot be told: then nothing outside is purged, or it would fill with what is there.
    await expect.poll(() => told.length, soon).toBeGreaterThan(3);
    expect(told).not.toContain('outside');
    isUp = true;
    await expect.poll(counts, soon).toEqual(nothing);
    expect(told.at(-1)).toBe('outside');
    expect(told.filter((each) => each === 'outside')).toHaveLength(1);
  });

  test('of what was committed is not made for what was rolled back', async () => {
    const rolledBack = database.transaction(async (tx) => {
      await recordInvalidation(tx, 'shop', { tags: ['never'] });
      throw new Error('no');
    });
    await expect(rolledBack).rejects.toThrow('no');
    await record('committed');
    await relayOf().start();
    await expect.poll(counts, soon).toEqual(nothing);
    expect(purged).toEqual([['committed']]);
  });

  test('is one request for all of a moment, with each tag once', async () => {
    for (let n = 0; n < 40; n += 1) await record('products', `product:${n % 20}`);
    await relayOf().start();
    await expect.poll(counts, soon).toEqual(nothing);
    expect(purged).toHaveLength(1);
    expect(purged[0]).toHaveLength(21);
  });

  test('is made once more after a while, for answers that were under way', async () => {
    const relay = relayOf({ purgeAgainMs: 100 });
    await relay.start();
    await record('product:1');
    await expect.poll(counts, soon).toEqual(nothing);
    expect(purged).toEqual([['product:1'], ['product:1']]);
  });

  test('of keys alone is none', async () => {
    await database.transaction((tx) => recordInvalidation(tx, 'shop', { keys: ['k'] }));
    await relayOf().start();
    await expect.poll(counts, soon).toEqual(nothing);
    expect(asked).toEqual([]);
  });

  test('is made by one of several processes', async () => {
    await Promise.all([1, 2, 3].map(() => relayOf().start()));
    for (let n = 0; n < 30; n += 1) await record(`product:${n}`);
    await expect.poll(counts, soon).toEqual(nothing);
    const all = purged.flat();
    expect(all.toSorted()).toEqual(Array.from({ length: 30 }, (_none, n) => `product:${n}`).toSorted());
  });
});

describe('a cache outside that is', () => {
  test('down for a while is purged when it is back; writers and inner tiers did not wait', async () => {
    mood = 'down';
    const scope = {};
    const errors: BackgroundMessage[] = [];
    const stop = background.subscribe((message) => message.scope === scope && errors.push(message));
    const cache = createCache({ name: 'shop' });
    const relay = relayOf({ caches: [cache], scope });
    await relay.start();
    await cache.get('k', policy, () => 'old');
    const recorded = await record('t');
    await relay.published(recorded);
    expect(cache.peek('k')).toBeUndefined();
    await expect.poll(() => asked.length, soon).toBeGreaterThan(1);
    // Those of other writers join it, and reach the inner tiers at once.
    await cache.get('k', policy, () => 'old');
    await relay.published(await record('t', 'more'));
    expect(cache.peek('k')).toBeUndefined();
    await expect.poll(counts, soon).toEqual({ invalidations: 0, purges: 2 });
    mood = 'up';
    await expect.poll(counts, soon).toEqual(nothing);
    expect([...new Set(purged.flat())].toSorted()).toEqual(['more', 't']);
    stop();
    expect(errors.map(({ what }) => what)).toContain('purging outside');
    expect(String(errors[0]?.error)).toContain('403');
  });

  test('silent delays no other one, no invalidation, and no stop', async () => {
    mood = 'silent';
    const quick: string[] = [];
    const other: Purger = {
      name: 'other',
      purge: (tags) => Promise.resolve(void quick.push(...tags)),
    };
    // So long that a stop which waited for it would not end within this test.
    const silent = requestPurger({ name: 'outside', urls: [url], timeoutMs: 600_000 });
    const relay = relayOf({ purgers: [silent, other] });
    await relay.start();
    await record('one');
    await expect.poll(() => asked.length, soon).toBe(1);
    await expect.poll(() => quick, soon).toEqual(['one']);
    await record('two');
    await expect.poll(() => quick, soon).toEqual(['one', 'two']);
    await relay.stop();
    expect(await counts()).toEqual({ invalidations: 0, purges: 2 });
    mood = 'up';
    await relay.start();
    await expect.poll(counts, soon).toEqual(nothing);
    expect(purged.flat().toSorted()).toEqual(['one', 'two']);
  });

  test('asking to be left alone is, and what becomes due meanwhile waits for it', async () => {
    let calls = 0;
    const limited: Purger = {
      name: 'outside',
      async purge(tags, signal) {
        calls += 1;
        if (calls === 1) {
          const data = { status: 429, retryAfterMs: 3_000 };
          throw new PlimsollError('PL_REMOTE_FAILED', 'too many', { data });
        }
        await purgerOf().purge(tags, signal);
      },
    };
    const relay = relayOf({ purgers: [limited] });
    await relay.start();
    await record('one');
    await expect.poll(() => calls, soon).toBe(1);
    await record('two');
    await expect.poll(counts, soon).toEqual(nothing);
    // Both in one request, and not before it was allowed.
    expect([calls, purged]).toEqual([2, [['one', 'two']]]);
  });
});

test('purgers need names of their own, and times that can be', () => {
  const purgers = [purgerOf('a'), purgerOf('a')];
  expect(() =>
    createInvalidationRelay({ database, caches: [], purgers, purgeAgainMs: -1, purgeLeaseMs: 0 }),
  ).toThrow(/has two of the name "a"(.|\n)*purgeAgainMs: is -1(.|\n)*purgeLeaseMs: is 0/);
});

test('starts and stops in every awkward way', async () => {
  await stress(createInvalidationRelay({ database, caches: [], pollMs: 5, purgers: [purgerOf()] }));
});
