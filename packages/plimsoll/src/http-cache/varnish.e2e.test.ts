import { readFileSync } from 'node:fs';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createCache } from '../cache/create-cache.ts';
import { recordInvalidation } from '../cache/invalidation-rows.ts';
import { cacheMigrations } from '../cache/migrations.ts';
import { cachePolicy } from '../cache/policy.ts';
import { postgresCacheStore } from '../cache/postgres-store.ts';
import { createInvalidationRelay, type InvalidationRelay } from '../cache/relay.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { createGateway, type Gateway } from '../gateway/gateway.ts';
import { route } from '../gateway/route.ts';
import { sessionMigrations } from '../gateway/session-migrations.ts';
import { createSessionStore } from '../gateway/session-store.ts';
import { seenTokens } from '../kernel/seen-token.ts';
import { Seen } from '../kernel/seen.ts';
import { command, contract, query } from '../modules/contract.ts';
import { noVarnish, startVarnish, vcl, type PrivateVarnish } from './fixtures/private-varnish.ts';
import { requestPurger } from './request-purger.ts';

const catalog = contract('catalog', {
  product: query({ input: z.object({ id: z.string() }), output: z.object({ name: z.string() }) }),
  short: query({ input: z.object({ id: z.string() }), output: z.object({ name: z.string() }) }),
  plain: query({ input: z.object({}), output: z.unknown() }),
  rename: command({ input: z.object({ id: z.string(), name: z.string() }) }),
});
const tags = ({ id }: { id: string }): [string, string] => [`product:${id}`, 'products'];
const routes = [
  route('/products/:id', catalog.product, { cache: { ttlMs: 3_600_000, tags } }),
  route('/short/:id', catalog.short, {
    cache: { ttlMs: 1_000, staleWhileRevalidateMs: 1_000, staleIfErrorMs: 3_600_000, tags },
  }),
  route('/brief/:id', catalog.product, { cache: { ttlMs: 1_000, staleIfErrorMs: 3_600_000, tags } }),
  route('/plain', catalog.plain),
  route('/rename', catalog.rename),
];

describe.skipIf(noVarnish !== undefined)(
  `a Varnish before the app${noVarnish === undefined ? '' : `: ${noVarnish}`}`,
  () => {
    let server: TestDatabase;
    let database: Database;
    let pool: pg.Pool;
    let relay: InvalidationRelay;
    let gateway: Gateway;
    let varnish: PrivateVarnish;
    let isDown = false;
    /** Set to hold an answer after what it says was read. */
    let hold: (() => Promise<void>) | undefined;
    let asked = 0;

    beforeAll(async () => {
      server = await createTestDatabase(inject('cluster'));
      database = createDatabase({ url: server.url });
      await migrate(database, [cacheMigrations, sessionMigrations]);
      await database.execute(sql`create table product (id text primary key, name text not null)`);
      pool = new pg.Pool({ connectionString: server.url, max: 3 });
      const cache = createCache({ name: 'catalog', shared: postgresCacheStore(pool) });
      const products = cachePolicy({ ttlMs: 3_600_000, tags: (id) => [`product:${id}`, 'products'] });
      gateway = createGateway({
        scope: {},
        routes,
        port: 0,
        sessions: createSessionStore(database, { secret: 'a secret of at least thirty-two characters' }),
        ready: () => Promise.resolve(),
        // A whole app has these from its modules.
        async call(operation, input) {
          const { id, name } = input as { id: string; name: string };
          asked += 1;
          if (isDown) throw new Error('down');
          if (operation === catalog.rename) {
            const recorded = await database.transaction(async (tx) => {
              await tx.execute(sql`update product set name = ${name} where id = ${id}`);
              return await recordInvalidation(tx, 'catalog', { tags: [`product:${id}`] });
            });
            await relay.published(recorded);
            return undefined;
          }
          if (operation === catalog.plain) return 'plain';
          const found = await cache.get(id, products, () =>
            database.one<{ name: string }>(sql`select name from product where id = ${id}`),
          );
          await hold?.();
          return found;
        },
      });
      await gateway.start();
      varnish = await startVarnish(Number(new URL(gateway.url).port));
      relay = createInvalidationRelay({
        database,
        caches: [cache],
        pollMs: 20,
        purgeAgainMs: 300,
        purgers: [requestPurger({ name: 'varnish', urls: [varnish.url] })],
      });
      await relay.start();
    });
    beforeEach(() => {
      isDown = false;
      hold = undefined;
      asked = 0;
    });
    afterAll(async () => {
      await relay?.stop();
      await gateway?.stop();
      await varnish?.stop();
      await pool?.end();
      await database?.close();
      await server?.drop();
    });

    async function add(id: string): Promise<void> {
      await database.execute(sql`insert into product values (${id}, 'Lantern')`);
    }
    const get = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
      fetch(varnish.url + path, { headers });
    const nameOf = async (path: string): Promise<unknown> =>
      ((await (await get(path)).json()) as { name: string }).name;
    const rename = (id: string, name: string): Promise<Response> =>
      fetch(`${varnish.url}/rename`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ id, name }),
      });
    async function purgesAreOver(): Promise<void> {
      const left = async (): Promise<unknown> =>
        await database.one(
          sql`select (select count(*)::int from plimsoll.invalidation) as rows, (select count(*)::int from plimsoll.purge) as purges`,
        );
      await expect.poll(left, { timeout: 20_000 }).toEqual({ rows: 0, purges: 0 });
    }
    const status = (answer: Response): string | null => answer.headers.get('cache-status');
    function token(): string {
      const seen = new Seen();
      seen.noteWritten('db', '1.a', 5n);
      return seenTokens().write(seen) ?? '';
    }

    test('keeps a product until a command changes it, and that one only', async () => {
      await Promise.all([add('1'), add('1/2')]);
      expect(status(await get('/products/1'))).toBe('varnish; fwd=miss');
      expect(status(await get('/products/1%2F2'))).toBe('varnish; fwd=miss');
      expect(status(await get('/products/1'))).toBe('varnish; hit');
      expect(status(await get('/products/1%2F2'))).toBe('varnish; hit');
      expect(asked).toBe(2);
      expect((await rename('1', 'Lamp')).status).toBe(204);
      await purgesAreOver();
      const answer = await get('/products/1');
      expect([status(answer), await answer.json()]).toEqual(['varnish; fwd=miss', { name: 'Lamp' }]);
      // `product:1` is not a part of `product:1/2`.
      expect(status(await get('/products/1%2F2'))).toBe('varnish; hit');
    });

    test('answers no copy to who has a token, credentials or a session, and keeps none of theirs', async () => {
      await add('2');
      for (let round = 0; round < 2; round += 1) {
        const before = asked;
        for (const headers of [
          { 'plimsoll-seen': token() },
          { 'plimsoll-seen': '' },
          { cookie: `_ga=1; plimsoll-seen=${token()}` },
          { cookie: '__Host-sid=x' },
          { authorization: 'Bearer x' },
        ]) {
          const answer = await get('/products/2', headers);
          expect([answer.headers.get('cache-control'), status(answer)]).toEqual([
            'private, no-cache',
            'varnish; fwd=miss',
          ]);
        }
        expect(asked).toBe(before + 5);
        // Once nobody has a copy, once anonymous ones do; their cookies that decide nothing are no matter.
        await get('/products/2', { cookie: `_ga=${round}` });
        expect(status(await get('/products/2', { cookie: '_ga=other' }))).toBe('varnish; hit');
      }
    });

    test('answers 304 to who has it, without asking us', async () => {
      await add('3');
      const etag = (await get('/products/3')).headers.get('etag') ?? '';
      const before = asked;
      const answer = await get('/products/3', { 'if-none-match': etag });
      expect([answer.status, answer.headers.get('etag'), asked]).toEqual([304, etag, before]);
    });

    test('shows nobody what is said to caches', async () => {
      await add('4');
      const { headers } = await get('/products/4');
      for (const name of [
        'surrogate-key',
        'cache-tag',
        'surrogate-control',
        'cdn-cache-control',
        'x-correlation-id',
      ])
        expect([name, headers.get(name)]).toEqual([name, null]);
      expect(headers.get('cache-control')).toBe('no-cache');
    });

    test('keeps nothing that says nothing to it, and no failure', async () => {
      await get('/plain');
      await get('/plain');
      expect(asked).toBe(2);
      isDown = true;
      expect((await get('/products/none')).status).toBe(500);
      expect((await get('/products/none')).status).toBe(500);
      isDown = false;
      await add('none');
      expect((await get('/products/none')).status).toBe(200);
    });

    test('answers what is old while it asks for the new, within stale-while-revalidate', async () => {
      await add('5');
      await get('/short/5');
      // Of what is fresh and of what is not: once it has been asked for in the background, it is fresh again.
      await expect
        .poll(
          async () => {
            expect(status(await get('/short/5'))).toBe('varnish; hit');
            return asked;
          },
          { timeout: 10_000, interval: 100 },
        )
        .toBeGreaterThan(1);
    });

    test('answers what is old when the app is down, within stale-if-error', async () => {
      await add('6');
      await get('/brief/6');
      isDown = true;
      // From when it is no longer fresh, each is asked for first.
      await expect
        .poll(
          async () => {
            const answer = await get('/brief/6');
            expect([answer.status, await answer.json()]).toEqual([200, { name: 'Lantern' }]);
            return asked;
          },
          { timeout: 10_000, interval: 100 },
        )
        .toBeGreaterThan(2);
      isDown = false;
      await database.execute(sql`update product set name = 'Lamp' where id = '6'`);
      await relay.published(
        await database.transaction((tx) => recordInvalidation(tx, 'catalog', { tags: ['product:6'] })),
      );
      await purgesAreOver();
      expect(await nameOf('/brief/6')).toBe('Lamp');
    });

    test('what was under way when it was purged does not stay', async () => {
      await add('7');
      const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
      const { promise: isRead, resolve: read } = Promise.withResolvers<void>();
      hold = () => {
        read();
        return held;
      };
      const underWay = nameOf('/products/7');
      await isRead;
      hold = undefined;
      await rename('7', 'Lamp');
      // The first purge is over, the second one is not; then the old answer arrives.
      const left = async (): Promise<unknown> =>
        await database.maybeOne(sql`select times_left from plimsoll.purge`);
      await expect.poll(left, { timeout: 10_000 }).toEqual({ times_left: 1 });
      letGo();
      expect(await underWay).toBe('Lantern');
      await purgesAreOver();
      expect(await nameOf('/products/7')).toBe('Lamp');
    });

    test('takes purges by tags, and nothing else in their place', async () => {
      await add('8');
      await get('/products/8');
      for (const field of ['', 'a" || obj.status == 200', '.*', '(a)']) {
        const answer = await fetch(`${varnish.url}/`, {
          method: 'PURGE',
          headers: { 'surrogate-key': field },
        });
        expect([field, answer.status]).toEqual([field, 400]);
      }
      await requestPurger({ name: 'varnish', urls: [varnish.url] }).purge([
        'product:',
        'roduct:8',
        'x.*',
        'Products',
      ]);
      expect(status(await get('/products/8'))).toBe('varnish; hit');
      await requestPurger({ name: 'varnish', urls: [varnish.url] }).purge(['other', 'products']);
      expect(status(await get('/products/8'))).toBe('varnish; fwd=miss');
    });
  },
);

test('the page shows the VCL that is tested', () => {
  const page = readFileSync(new URL('../../../../docs/patterns/http-cache.md', import.meta.url), 'utf8');
  expect(page).toContain(`\`\`\`vcl\n${vcl}\`\`\``);
});
