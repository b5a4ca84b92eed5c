import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type Express } from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createGateway } from '../gateway/gateway.ts';
import { route, type Route } from '../gateway/route.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { contract, query } from '../modules/contract.ts';
import { plimsollContext } from './context.ts';
import { mountRoutes } from './mount-routes.ts';

const catalog = contract('catalog', {
  product: query({ input: z.object({ id: z.string() }), output: z.unknown() }),
});
const routes: readonly Route[] = [
  route('/products/:id', catalog.product, {
    cache: { ttlMs: 60_000, tags: ({ id }) => [`product:${id}`], vary: ['Accept-Language'] },
  }),
];
const call = (_operation: unknown, input: unknown): Promise<unknown> =>
  (input as { id: string }).id === 'none'
    ? Promise.reject(new PlimsollError('PL_NOT_FOUND', 'no such product'))
    : Promise.resolve(input);

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});
async function serve(before: (site: Express) => void = () => undefined): Promise<string> {
  const site = express();
  site.use(
    plimsollContext({
      caller: (request) => {
        const { headers } = request as { headers: Record<string, string | undefined> };
        return headers['x-api-key'] === 'ada' ? { principal: 'ada' } : undefined;
      },
    }),
  );
  before(site);
  mountRoutes({ call }, site, { routes, cookies: ['sid'] });
  const server = site.listen(0, '127.0.0.1');
  servers.push(server);
  await new Promise((resolve) => server.once('listening', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const names = [
  'etag',
  'vary',
  'cache-control',
  'cdn-cache-control',
  'surrogate-control',
  'surrogate-key',
  'cache-tag',
];
const told = ({ status, headers }: Response): unknown => [
  status,
  ...[...names, 'content-type', 'content-length', 'x-correlation-id'].map((name) =>
    name === 'x-correlation-id' ? headers.has(name) : (headers.get(name)?.split(';')[0] ?? null),
  ),
];

describe('a cached route', () => {
  test('answers as it does in the gateway', async () => {
    const gateway = createGateway({ scope: {}, routes, call, port: 0, ready: () => Promise.resolve() });
    await gateway.start();
    const url = await serve();
    const etag = (await fetch(`${url}/products/7`)).headers.get('etag') ?? '';
    const requests: RequestInit[] = [
      {},
      { method: 'HEAD' },
      { headers: { 'if-none-match': etag } },
      { headers: { authorization: 'Bearer x' } },
      { headers: { 'plimsoll-seen': '' } },
      { headers: { cookie: '_ga=1' } },
      { headers: { 'if-none-match': etag, authorization: 'Bearer x' } },
    ];
    try {
      for (const request of requests) {
        const expected = told(await fetch(`${gateway.url}/products/7`, request));
        expect([request, told(await fetch(`${url}/products/7`, request))]).toEqual([request, expected]);
      }
    } finally {
      await gateway.stop();
    }
    expect(told(await fetch(`${url}/products/7`))).toEqual([
      200,
      etag,
      'Authorization, Cookie, Plimsoll-Seen, Accept-Language',
      'no-cache',
      'max-age=60',
      'max-age=60',
      'product:7',
      'product:7',
      'application/json',
      '10',
      false,
    ]);
  });

  test.each([
    ['a session', { cookie: 'a=b; sid=x' }],
    ['a known caller', { 'x-api-key': 'ada' }],
  ])('is private to %s', async (_what, headers) => {
    const answer = await fetch(`${await serve()}/products/7`, { headers });
    expect([answer.headers.get('cache-control'), answer.headers.get('surrogate-key')]).toEqual([
      'private, no-cache',
      null,
    ]);
  });

  test('is private where a middleware has set a cookie', async () => {
    const url = await serve((site) =>
      site.use((_request, response, next) => {
        response.cookie('sid', 'new');
        next();
      }),
    );
    const answer = await fetch(`${url}/products/7`);
    expect([answer.headers.get('cache-control'), answer.headers.get('surrogate-key')]).toEqual([
      'private, no-cache',
      null,
    ]);
  });

  test('keeps no failure', async () => {
    const answer = await fetch(`${await serve()}/products/none`);
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([404, 'no-store']);
  });

  test('that cannot be is refused when it is mounted', () => {
    const wrong = route('/p', catalog.product, { cache: { ttlMs: 1 } as never });
    expect(() => mountRoutes({ call }, express(), { routes: [wrong] })).toThrow(
      /routes\[0\]\.cache\.ttlMs: is 1(.|\n)*routes\[0\]\.cache\.tags: has none/,
    );
  });
});
