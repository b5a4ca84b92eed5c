import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { afterEach, expect, test } from 'vitest';
// #region answer
import { answerCacheable, httpCachePolicy } from 'plimsoll/http-cache';

/** In shared caches for an hour or until it is purged, a minute longer while it is asked for, a day when we are down. */
const productPage = httpCachePolicy({
  ttlMs: 3_600_000,
  staleWhileRevalidateMs: 60_000,
  staleIfErrorMs: 86_400_000,
  tags: (id: string) => [`product:${id}`, 'products'],
});

const site = express();
site.get('/products/:id', async (request, response) => {
  const startedMs = performance.now();
  const { id } = request.params;
  const product = await findProduct(id);
  if (product === undefined) {
    response.status(404).set('cache-control', 'no-store').end();
    return;
  }
  const body = JSON.stringify(product);
  answerCacheable(request, response, productPage, { subject: id, body, startedMs, cookies: ['connect.sid'] });
});
// #endregion

// #region purgers
import { cloudflarePurger, fastlyPurger, requestPurger } from 'plimsoll/http-cache';

/** Of the caches that stand before us: one of these, or several. */
function purgers(secrets: {
  readonly fastly: string;
  readonly cloudflare: string;
  readonly varnish: string;
}) {
  return [
    fastlyPurger({ serviceId: 'SU1Z0isxPaozGVKXdv0eY', token: secrets.fastly }),
    cloudflarePurger({ zoneId: '023e105f4ecef8ad9ca31a8372d0c353', token: secrets.cloudflare }),
    requestPurger({
      name: 'varnish',
      urls: ['http://varnish-1.internal/', 'http://varnish-2.internal/'],
      headers: { 'x-purge-token': secrets.varnish },
    }),
  ];
}
// #endregion

function findProduct(id: string): Promise<{ id: string } | undefined> {
  return Promise.resolve(id === 'none' ? undefined : { id });
}

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('an answer of Express is kept by shared caches, and is 304 where the client has it', async () => {
  const url = await serve(site as RequestListener);
  const answer = await fetch(`${url}/products/7`);
  expect(await answer.json()).toEqual({ id: '7' });
  expect(answer.headers.get('cdn-cache-control')).toBe(
    'max-age=3600, stale-while-revalidate=60, stale-if-error=86400',
  );
  expect(answer.headers.get('surrogate-key')).toBe('product:7 products');
  const etag = answer.headers.get('etag') ?? '';
  const again = await fetch(`${url}/products/7`, { headers: { 'if-none-match': etag } });
  expect([again.status, await again.text(), again.headers.get('etag')]).toEqual([304, '', etag]);
  const head = await fetch(`${url}/products/7`, { method: 'HEAD' });
  expect([head.headers.get('etag'), head.headers.get('content-length')]).toEqual([etag, '10']);
  const known = await fetch(`${url}/products/7`, { headers: { cookie: 'a=b; connect.sid=x' } });
  expect([known.headers.get('cache-control'), known.headers.get('surrogate-key')]).toEqual([
    'private, no-cache',
    null,
  ]);
  expect((await fetch(`${url}/products/none`)).headers.get('cache-control')).toBe('no-store');
});

test('whatever says who asks makes it private: by default any cookie, one that is being set, what the caller knows', async () => {
  const policy = httpCachePolicy({ ttlMs: 60_000, browserTtlMs: 5_500, tags: ['t'] });
  const url = await serve((request, response) => {
    if (request.url === '/before') response.setHeader('set-cookie', 'a=1');
    if (request.url === '/late') {
      // As sessions of other libraries do it.
      const writeHead = response.writeHead.bind(response) as (...given: unknown[]) => typeof response;
      response.writeHead = ((...given: unknown[]) => {
        response.appendHeader('Set-Cookie', 'a=1');
        return writeHead(...given);
      }) as never;
    }
    response.setHeader('x-correlation-id', 'of one');
    const personal = request.url === '/personal';
    answerCacheable(request, response, policy, {
      subject: undefined,
      body: 'x',
      type: 'text/plain',
      personal,
    });
  });
  const told = async (path: string, headers: Record<string, string> = {}): Promise<unknown[]> => {
    const answer = await fetch(url + path, { headers });
    return [
      'cache-control',
      'cdn-cache-control',
      'surrogate-control',
      'surrogate-key',
      'cache-tag',
      'x-correlation-id',
    ].map((name) => answer.headers.get(name));
  };
  expect(await told('/')).toEqual(['max-age=5', 'max-age=60', 'max-age=60', 't', 't', null]);
  const kept = ['private, no-cache', null, null, null, null];
  expect(await told('/', { cookie: 'a=b' })).toEqual([...kept, 'of one']);
  expect(await told('/', { 'plimsoll-seen': 'x' })).toEqual([...kept, 'of one']);
  expect(await told('/before')).toEqual([...kept, 'of one']);
  expect(await told('/personal')).toEqual([...kept, 'of one']);
  expect((await told('/late')).slice(0, 5)).toEqual(kept);
});

test('purgers have names of their own', () => {
  const made = purgers({ fastly: 'a', cloudflare: 'b', varnish: 'c' });
  expect(made.map(({ name }) => name)).toEqual(['fastly', 'cloudflare', 'varnish']);
});
