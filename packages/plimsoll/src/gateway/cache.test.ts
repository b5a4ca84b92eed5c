import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { background, type BackgroundMessage } from '../kernel/channels.ts';
import { currentContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { seenTokens } from '../kernel/seen-token.ts';
import { Seen } from '../kernel/seen.ts';
import { command, contract, query } from '../modules/contract.ts';
import { createGateway, type Gateway } from './gateway.ts';
import type { GatewayOptions } from './options.ts';
import { route } from './route.ts';

// #region route
const catalog = contract('catalog', {
  product: query({
    input: z.object({ sku: z.string().toLowerCase() }),
    output: z.object({ sku: z.string(), pence: z.number() }),
  }),
  list: query({ input: z.object({}), output: z.array(z.object({ sku: z.string() })) }),
  reprice: command({ input: z.object({ sku: z.string(), pence: z.number() }) }),
});
const routes = [
  route('/products/:sku', catalog.product, {
    // In a CDN for an hour, or until the product changes; for a day longer when we are down.
    cache: { ttlMs: 3_600_000, staleIfErrorMs: 86_400_000, tags: ({ sku }) => [`product:${sku}`] },
  }),
  route('/products', catalog.list, {
    cache: {
      ttlMs: 60_000,
      tags: (_input, list) => ['products', ...list.map(({ sku }) => `product:${sku}`)],
    },
  }),
  route('/reprice', catalog.reprice),
];
// #endregion

const running: Gateway[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((gateway) => gateway.stop()));
});

const lamp: GatewayOptions['call'] = () => Promise.resolve({ sku: 'lamp', pence: 900 });
async function start(
  call: GatewayOptions['call'] = lamp,
  options: Partial<GatewayOptions> = {},
): Promise<Gateway> {
  const gateway = createGateway({
    scope: {},
    port: 0,
    routes,
    call,
    ready: () => Promise.resolve(),
    ...options,
  });
  running.push(gateway);
  await gateway.start();
  return gateway;
}
const get = (
  { url }: Gateway,
  headers: Record<string, string> = {},
  path = '/products/LAMP',
): Promise<Response> => fetch(url + path, { headers });

const sharedFields = ['cdn-cache-control', 'surrogate-control', 'surrogate-key', 'cache-tag'];
const isShared = (answer: Response): boolean => sharedFields.some((name) => answer.headers.has(name));
/** Nothing for shared caches, and nothing that one might keep. */
function expectPrivate(answer: Response): void {
  expect(sharedFields.filter((name) => answer.headers.has(name))).toEqual([]);
  expect(answer.headers.get('cache-control')).toBe('private, no-cache');
}
function token(): string {
  const seen = new Seen();
  seen.noteWritten('db', '1.a', 5n);
  return seenTokens().write(seen) ?? '';
}

describe('an answer to somebody anonymous', () => {
  test('says how it may be kept, what it depends on, and what decides', async () => {
    const { headers } = await get(await start());
    expect(
      Object.fromEntries([...headers].filter(([name]) => /cache|surrogate|vary|etag/.test(name))),
    ).toEqual({
      'cache-control': 'no-cache',
      'cdn-cache-control': 'max-age=3600, stale-if-error=86400',
      'surrogate-control': 'max-age=3600, stale-if-error=86400',
      // The input as the schema makes it, whatever the client wrote.
      'surrogate-key': 'product:lamp',
      'cache-tag': 'product:lamp',
      vary: 'Authorization, Cookie, Plimsoll-Seen',
      etag: expect.stringMatching(/^W\/"[\w-]{27}"$/),
    });
  });

  test('may have tags of what was answered', async () => {
    const gateway = await start(() => Promise.resolve([{ sku: 'a b' }, { sku: 'c,d' }]));
    const { headers } = await get(gateway, {}, '/products');
    expect(headers.get('surrogate-key')).toBe('products product:a%20b product:c%2Cd');
    expect(headers.get('cache-tag')).toBe('products,product:a%20b,product:c%2Cd');
  });

  test('has nothing of one client: no cookie, no token, no correlation id, no counts', async () => {
    const gateway = await start(
      () => {
        currentContext()?.seen.noteWritten('db', '1.a', 7n);
        return lamp(undefined as never, undefined);
      },
      {
        seen: { cookie: true },
        rateLimit: { rules: [{ kind: 'rate', name: 'all', limit: 100, perMs: 1_000, key: () => 'one' }] },
      },
    );
    const { headers } = await get(gateway, { 'x-correlation-id': 'mine' });
    expect(headers.has('surrogate-key')).toBe(true);
    for (const name of ['set-cookie', 'plimsoll-seen', 'x-correlation-id', 'ratelimit', 'ratelimit-policy'])
      expect([name, headers.get(name)]).toEqual([name, null]);
  });

  test('keeps what others vary by', async () => {
    const gateway = await start(lamp, {
      cors: { origins: ['https://a.example', 'https://b.example'] },
      routes: [
        route('/p/:sku', catalog.product, {
          cache: { ttlMs: 1_000, tags: ['p'], vary: ['Accept-Language'] },
        }),
      ],
    });
    const { headers } = await get(gateway, { origin: 'https://a.example' }, '/p/a');
    expect(headers.get('vary')?.split(', ').toSorted()).toEqual(
      ['Accept-Language', 'Authorization', 'Cookie', 'Origin', 'Plimsoll-Seen'].toSorted(),
    );
  });

  test('with more tags than fit is kept from shared caches, and told of once', async () => {
    const scope = {};
    const told: BackgroundMessage[] = [];
    const stop = background.subscribe((message) => message.scope === scope && told.push(message));
    const many = Array.from({ length: 1_000 }, (_none, n) => ({ sku: `sku-${n}` }));
    const gateway = await start(() => Promise.resolve(many), { scope });
    for (let round = 0; round < 2; round += 1) expectPrivate(await get(gateway, {}, '/products'));
    stop();
    expect(told.map(({ error }) => (error as Error).message)).toEqual([
      expect.stringContaining('catalog.list has 1001 tags, more than fit'),
    ]);
  });

  test('that took too long is kept from shared caches: its purge may be over', async () => {
    const slow = route('/products/:sku', catalog.product, {
      cache: { ttlMs: 60_000, tags: ['p'], maxAnswerMs: 1 },
    });
    const gateway = await start(
      () => {
        const startedMs = performance.now();
        while (performance.now() < startedMs + 5);
        return Promise.resolve({ sku: 'lamp', pence: 1 });
      },
      { routes: [slow] },
    );
    expectPrivate(await get(gateway));
  });
});

describe('private, and without a field for shared caches, is an answer to', () => {
  test.each([
    ['a causality token', { 'plimsoll-seen': token() }],
    ['who asks for the first token', { 'plimsoll-seen': '' }],
    ['a token in a cookie', { cookie: `a=b; plimsoll-seen=${token()}` }],
    ['credentials', { authorization: 'Bearer x' }],
    ['a session, also one that has ended', { cookie: '__Host-sid=gone' }],
  ])('%s', async (_what, headers) => {
    const sessions = { cookieName: 'sid', find: () => Promise.resolve(undefined) } as never;
    const answer = await get(await start(lamp, { sessions }), headers);
    expectPrivate(answer);
    expect(answer.headers.get('vary')).toBe('Authorization, Cookie, Plimsoll-Seen');
    const again = await get(running[0]!, { ...headers, 'if-none-match': answer.headers.get('etag') ?? '' });
    expect(again.status).toBe(304);
    expectPrivate(again);
  });

  test.each([
    ['header', { 'plimsoll-seen': 'of another app of ours' }],
    ['cookie', { cookie: '__Host-plimsoll-seen=x' }],
  ])('a token in a %s also where the gateway does not read it', async (_what, headers) => {
    expectPrivate(await get(await start(lamp, { seen: false }), headers));
  });

  test('a caller who is known by anything else', async () => {
    const authenticate: GatewayOptions['authenticate'] = ({ headers }) =>
      Promise.resolve(headers['x-api-key'] === 'ada' ? { principal: 'ada' } : undefined);
    const gateway = await start(lamp, { authenticate });
    expectPrivate(await get(gateway, { 'x-api-key': 'ada' }));
    expect(isShared(await get(gateway, { 'x-api-key': 'nobody' }))).toBe(true);
  });

  test('not to who has only cookies that decide nothing', async () => {
    expect(isShared(await get(await start(), { cookie: '_ga=1; theme=dark' }))).toBe(true);
  });
});

describe('a failure', () => {
  test('is kept by nobody', async () => {
    const gateway = await start(() => Promise.reject(new PlimsollError('PL_NOT_FOUND', 'no such product')));
    const answer = await get(gateway);
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([404, 'no-store']);
    expect([isShared(answer), answer.headers.has('etag')]).toEqual([false, false]);
  });
});

describe('If-None-Match', () => {
  test.each([
    ['itself', (etag: string) => etag],
    ['its strong form', (etag: string) => etag.slice(2)],
    ['a list', (etag: string) => `"other, with comma" , ${etag}`],
    ['anything', () => '*'],
  ])('with %s is answered 304, with the fields of the 200 and no body', async (_what, made) => {
    const gateway = await start();
    const { headers } = await get(gateway);
    const etag = headers.get('etag') ?? '';
    const answer = await get(gateway, { 'if-none-match': made(etag) });
    expect([answer.status, await answer.text()]).toEqual([304, '']);
    for (const name of ['etag', 'vary', 'cache-control', ...sharedFields])
      expect([name, answer.headers.get(name)]).toEqual([name, headers.get(name)]);
    expect(answer.headers.get('content-type')).toBeNull();
    expect(answer.headers.get('content-length')).toBeNull();
  });

  test.each(['"other"', 'W/"other"', 'x', ''])('with %s is answered in full', async (field) => {
    const answer = await get(await start(), { 'if-none-match': field });
    expect([answer.status, await answer.json()]).toEqual([200, { sku: 'lamp', pence: 900 }]);
  });

  test('counts for HEAD too', async () => {
    const gateway = await start();
    const head = await fetch(`${gateway.url}/products/lamp`, { method: 'HEAD' });
    const { headers } = await get(gateway);
    for (const name of ['etag', 'vary', 'content-length', 'content-type', ...sharedFields])
      expect([name, head.headers.get(name)]).toEqual([name, headers.get(name)]);
    const again = await fetch(`${gateway.url}/products/lamp`, {
      method: 'HEAD',
      headers: { 'if-none-match': headers.get('etag') ?? '' },
    });
    expect(again.status).toBe(304);
  });
});

test('what cannot be kept does not start, and every problem is told', () => {
  const cache = { ttlMs: 60_000, tags: ['t'] } as const;
  const wrong = [
    route('/a', catalog.reprice, { cache } as never),
    route('/b', catalog.list, { cache, status: 203 }),
    route('/c', catalog.list, { cache: { ttlMs: 1, tags: [], vary: ['*'], staleIfErrorMs: 5 } as never }),
    route('/d', catalog.list, { cache: { ttlMs: 60_000 } as never }),
  ];
  expect(() =>
    createGateway({ scope: {}, routes: wrong, call: lamp, ready: () => Promise.resolve() }),
  ).toThrow(
    [
      'the gateway has 7 problems:',
      '  routes[0].cache: catalog.reprice is a command; only what a query answers can be kept',
      '  routes[1].cache: its status is 203; only a 200 can be kept',
      '  routes[2].cache.ttlMs: is 1; give milliseconds from 1000 to 31536000000, a year',
      '  routes[2].cache.staleIfErrorMs: is 5; give milliseconds from 1000 to 31536000000, a year',
      '  routes[2].cache.tags: has none; name what changes the answer, such as `product:7`',
      '  routes[2].cache.vary: has "*"; give names of request fields, such as "Accept-Language"',
      '  routes[3].cache.tags: has none; name what changes the answer, such as `product:7`',
    ].join('\n'),
  );
});
