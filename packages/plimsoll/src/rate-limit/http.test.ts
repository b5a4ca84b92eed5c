import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import express from 'express';
import fastify from 'fastify';
import { describe, expect, test } from 'vitest';
import { systemClock, type Clock } from '../kernel/clock.ts';
// #region fastify
import { byClientIp, createRateLimit, rateLimitHook, type ClientRequest } from 'plimsoll/rate-limit';

const perClient = createRateLimit<ClientRequest>({
  name: 'api',
  rules: [
    { kind: 'rate', name: 'client', limit: 10, perMs: 1_000, burst: 20, key: byClientIp() },
    { kind: 'quota', name: 'all', limit: 100_000, per: 'hour' },
  ],
});
const app = fastify({ trustProxy: ['10.0.0.0/8'] });
app.addHook('onRequest', rateLimitHook(perClient));
// #endregion
import { rateLimitHeaders } from './headers.ts';
import { rateLimitMiddleware } from './http.ts';

const clock: Clock & { ms: number } = {
  ...systemClock,
  ms: 0,
  monotonicMs() {
    return this.ms;
  },
  now: () => Date.UTC(2026, 0, 1, 22),
};

describe('fields', () => {
  test('of draft-10: each policy, what is left of it, and when there is more', async () => {
    const limit = createRateLimit({
      name: 'api',
      rules: [
        { kind: 'rate', name: 'burst', limit: 10, perMs: 1_000, burst: 25 },
        { kind: 'quota', name: 'daily', limit: 30, per: 'day' },
        { kind: 'quota', name: 'monthly', limit: 1_000, per: 'month' },
      ],
      clock,
    });
    expect(rateLimitHeaders(limit, await limit.peek())).toEqual({
      'ratelimit-policy': '"api.burst";q=25;w=3, "api.daily";q=30;w=86400, "api.monthly";q=1000',
      ratelimit: '"api.burst";r=25, "api.daily";r=30, "api.monthly";r=1000',
    });
    expect(rateLimitHeaders(limit, await limit.take(undefined, 20))).toMatchObject({
      ratelimit: '"api.burst";r=5;t=1, "api.daily";r=10;t=7200, "api.monthly";r=980;t=2599200',
    });
    const refused = rateLimitHeaders(limit, await limit.take(undefined, 21));
    // Not earlier than any `t` of a rule that refuses.
    expect(refused).toMatchObject({ 'retry-after': '7200' });
    expect(rateLimitHeaders(limit, await limit.take(undefined, 26))).not.toHaveProperty('retry-after');
  });
});

describe('Fastify', () => {
  test('each answer has the fields, and 429 when the client has used its points', async () => {
    app.get('/', () => 'hello');
    const get = (client: string): Promise<Awaited<ReturnType<typeof app.inject>>> =>
      app.inject({ url: '/', remoteAddress: '10.0.0.1', headers: { 'x-forwarded-for': client } });
    try {
      const first = await get('203.0.113.9');
      expect([first.statusCode, first.headers['ratelimit-policy'], first.headers['retry-after']]).toEqual([
        200,
        '"api.client";q=20;w=2, "api.all";q=100000;w=3600',
        undefined,
      ]);
      let refused = first;
      for (let n = 0; n < 2_000 && refused.statusCode === 200; n += 1) refused = await get('203.0.113.9');
      expect([refused.statusCode, refused.headers['retry-after']]).toEqual([429, '1']);
      expect(refused.json()).toMatchObject({ code: 'PL_RATE_LIMITED' });
      expect(refused.headers['ratelimit']).toMatch(/^"api\.client";r=0;t=1, /);
      expect((await get('203.0.113.10')).statusCode).toBe(200);
    } finally {
      await app.close();
    }
  });
});

describe('Express', () => {
  test('the error handler gets PL_RATE_LIMITED, and the answer has the fields', async () => {
    const site = express();
    const limit = createRateLimit<ClientRequest>({
      name: 'site',
      rules: [{ kind: 'quota', name: 'client', limit: 5, per: 'day', key: byClientIp() }],
    });
    site.use(
      rateLimitMiddleware(limit, { cost: (request) => (request.headers['x-heavy'] === undefined ? 1 : 4) }),
    );
    site.get('/', (_request, response) => void response.send('hello'));
    site.use(
      (
        error: { code: string; status: number },
        _request: unknown,
        response: express.Response,
        _next: unknown,
      ) => void response.status(error.status).json({ code: error.code }),
    );
    const server = site.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    try {
      const heavy = await fetch(url, { headers: { 'x-heavy': '1' } });
      expect([heavy.status, heavy.headers.get('ratelimit')?.split(';t')[0]]).toEqual([
        200,
        '"site.client";r=1',
      ]);
      expect((await fetch(url)).status).toBe(200);
      const refused = await fetch(url);
      expect([refused.status, await refused.json()]).toEqual([429, { code: 'PL_RATE_LIMITED' }]);
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});
