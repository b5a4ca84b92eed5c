import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { refusals, type RefusalMessage } from '../kernel/channels.ts';
import { command, contract, query } from '../modules/contract.ts';
import { byClientIp, byPrincipal } from '../rate-limit/client-key.ts';
import { createGateway, type Gateway } from './gateway.ts';
import type { GatewayOptions } from './options.ts';
import { route } from './route.ts';

const nothing = z.object({});
const shop = contract('shop', {
  buy: command({ input: nothing }),
  look: query({ input: nothing, output: nothing }),
  browse: query({ input: nothing, output: nothing }),
});
const perClient = (limit: number) =>
  ({ kind: 'rate', name: 'client', limit, perMs: 60_000, key: byClientIp() }) as const;

const running: Gateway[] = [];
afterEach(() => Promise.all(running.splice(0).map((gateway) => gateway.stop())));

async function start(options: Partial<GatewayOptions>): Promise<Gateway> {
  const gateway = createGateway({
    scope: {},
    port: 0,
    routes: [],
    call: () => Promise.resolve({}),
    ready: () => Promise.resolve(),
    trustProxy: ['127.0.0.1'],
    ...options,
  });
  running.push(gateway);
  await gateway.start();
  return gateway;
}

const from = (address: string): RequestInit => ({ headers: { 'x-forwarded-for': address } });

describe('rate limits', () => {
  test('a client that asks too often is refused on that route, others and other routes are not', async () => {
    const { url } = await start({
      routes: [route('/buy', shop.buy, { rateLimit: { rules: [perClient(2)] } }), route('/look', shop.look)],
    });
    const buy = (address: string): Promise<Response> =>
      fetch(`${url}/buy`, { method: 'POST', ...from(address) });
    const answers = [await buy('192.0.2.1'), await buy('192.0.2.1'), await buy('192.0.2.1')];
    expect(answers.map(({ status }) => status)).toEqual([204, 204, 429]);
    expect(answers[0]?.headers.get('ratelimit-policy')).toBe('"shop-buy.client";q=2;w=60');
    expect(answers[2]?.headers.get('ratelimit')).toMatch(/^"shop-buy\.client";r=0;t=\d+$/);
    expect(Number(answers[2]?.headers.get('retry-after'))).toBeGreaterThan(20);
    expect(await answers[2]?.json()).toMatchObject({ code: 'PL_RATE_LIMITED' });
    expect((await buy('192.0.2.2')).status).toBe(204);
    expect((await fetch(`${url}/look`, from('192.0.2.1'))).status).toBe(200);
  });

  test('routes without a limit of their own share the one for all', async () => {
    const { url } = await start({
      rateLimit: { rules: [perClient(3)] },
      routes: [
        route('/buy', shop.buy, { rateLimit: { rules: [perClient(1)] } }),
        route('/look', shop.look),
        route('/browse', shop.browse),
      ],
    });
    const statuses: number[] = [];
    for (const path of ['look', 'browse', 'look', 'browse'])
      statuses.push((await fetch(`${url}/${path}`)).status);
    expect(statuses).toEqual([200, 200, 200, 429]);
    expect((await fetch(`${url}/buy`, { method: 'POST' })).status).toBe(204);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    const document = (await (await fetch(`${url}/-/openapi.json`)).json()) as {
      paths: Record<string, Record<string, { responses: object }>>;
    };
    expect(document.paths['/look']?.['get']?.responses).toHaveProperty('429');
  });

  test('a rule may go by who was authenticated', async () => {
    const { url } = await start({
      authenticate: ({ headers }) =>
        Promise.resolve(
          headers.authorization === undefined ? undefined : { principal: headers.authorization },
        ),
      routes: [
        route('/look', shop.look, {
          rateLimit: { rules: [{ kind: 'quota', name: 'user', limit: 1, per: 'month', key: byPrincipal }] },
        }),
      ],
    });
    const look = async (authorization: string): Promise<number> =>
      (await fetch(`${url}/look`, { headers: { authorization } })).status;
    expect([await look('ann'), await look('ann'), await look('bob')]).toEqual([200, 429, 200]);
  });

  test('what cannot be is told at once, with its place', () => {
    const make = (): Gateway =>
      createGateway({
        scope: {},
        call: () => Promise.resolve({}),
        ready: () => Promise.resolve(),
        shed: { loopDelayMs: 0 },
        routes: [
          route('/a', shop.look, { rateLimit: { name: 'same', rules: [perClient(1)] } }),
          route('/b', shop.browse, { rateLimit: { name: 'same', rules: [perClient(2)] } }),
          route('/c', shop.buy, { rateLimit: { rules: [], store: 'database', whenStoreFails: 'open' } }),
        ],
      });
    expect(make).toThrow(
      expect.objectContaining({
        code: 'PL_CONFIG',
        data: {
          problems: [
            expect.objectContaining({ path: 'routes[1].rateLimit.name' }),
            expect.objectContaining({ path: 'routes[2].rateLimit.rules' }),
            expect.objectContaining({ path: 'rateLimitDatabase' }),
            expect.objectContaining({ path: 'shed.loopDelayMs' }),
          ],
        },
      }),
    );
  });
});

describe('shedding', () => {
  const one = { limit: { minLimit: 1, maxLimit: 1, initialLimit: 1 } };

  /** A gateway with a request under way, and how to end it. */
  async function occupied(
    options: Partial<GatewayOptions>,
  ): Promise<{ gateway: Gateway; end: () => Promise<Response> }> {
    const { promise, resolve } = Promise.withResolvers<object>();
    const { promise: began, resolve: begin } = Promise.withResolvers<void>();
    const gateway = await start({
      routes: [route('/look', shop.look)],
      call: () => {
        begin();
        return promise;
      },
      ...options,
    });
    const first = fetch(`${gateway.url}/look`);
    await began;
    return {
      gateway,
      end: () => {
        resolve({});
        return first;
      },
    };
  }

  test('what is one too many is refused before its route, and told under the scope of the gateway', async () => {
    const scope = {};
    const told: RefusalMessage[] = [];
    const stop = refusals.subscribe((message) => void (message.scope === scope && told.push(message)));
    const { gateway, end } = await occupied({ shed: one, scope });
    const refused = await fetch(`${gateway.url}/look`);
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ code: 'PL_OVERLOADED' });
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
    expect(gateway.shed()).toMatchObject({ refused: 1, admitted: 1, reason: 'limit' });
    expect(told).toMatchObject([{ policy: 'shed', name: 'gateway', reason: 'limit' }]);
    expect((await end()).status).toBe(200);
    expect((await fetch(`${gateway.url}/look`)).status).toBe(200);
    stop();
  });

  test('it is on by default, and off where the plan says so', async () => {
    const usual = await occupied({});
    expect(usual.gateway.shed()).toMatchObject({ name: 'gateway' });
    await usual.end();
    const without = await occupied({ shed: false });
    expect(without.gateway.shed()).toBeUndefined();
    await without.end();
  });
});
