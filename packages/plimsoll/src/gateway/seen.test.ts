import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { background, type BackgroundMessage } from '../kernel/channels.ts';
import { currentContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { maxTokenLength, seenTokens } from '../kernel/seen-token.ts';
import { Seen } from '../kernel/seen.ts';
import { command, contract, query } from '../modules/contract.ts';
import { createGateway, type Gateway } from './gateway.ts';
import type { GatewayOptions } from './options.ts';
import { route } from './route.ts';

const shop = contract('shop', {
  see: query({ input: z.object({}), output: z.unknown() }),
  buy: command({ input: z.object({}) }),
});
const routes = [route('/see', shop.see), route('/buy', shop.buy)];
const secret = 'a secret of at least thirty-two characters';
const running: Gateway[] = [];

afterEach(async () => {
  await Promise.all(running.splice(0).map((gateway) => gateway.stop()));
});

const seenNow = (): Seen => currentContext()?.seen ?? new Seen();
const nothing = (): Promise<unknown> => Promise.resolve(undefined);
const wrote =
  (at: bigint): (() => Promise<undefined>) =>
  () => {
    seenNow().noteWritten('db', '1.a', at);
    return Promise.resolve(undefined);
  };

async function start(call: GatewayOptions['call'], options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  const gateway = createGateway({
    scope: {},
    port: 0,
    routes,
    call,
    ready: () => Promise.resolve(),
    trustProxy: ['127.0.0.1'],
    ...options,
  });
  running.push(gateway);
  await gateway.start();
  return gateway;
}

const see = ({ url }: Gateway, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${url}/see`, { headers });
const token = (answer: Response): string | null => answer.headers.get('plimsoll-seen');
const written = (answer: Response, tokens = seenTokens()): bigint | undefined =>
  tokens.read(token(answer) ?? '')?.mark('db')?.written;
function made(at: bigint, tokens = seenTokens()): string {
  const seen = new Seen();
  seen.noteWritten('db', '1.a', at);
  return tokens.write(seen) ?? '';
}

describe('the header', () => {
  test('is answered where something was seen, and not otherwise', async () => {
    const silent = await see(await start(nothing));
    expect([token(silent), silent.headers.get('cache-control')]).toEqual([null, null]);
    const answer = await see(await start(wrote(7n)));
    expect(written(answer)).toBe(7n);
    expect(answer.headers.get('cache-control')).toBe('private, no-cache');
    expect(answer.headers.get('set-cookie')).toBeNull();
  });

  test('is part of what the request has seen, and answered again where that has changed', async () => {
    const heard: (bigint | undefined)[] = [];
    const listening = await start(() => {
      heard.push(seenNow().mark('db')?.written);
      return Promise.resolve(undefined);
    });
    const answer = await see(listening, { 'plimsoll-seen': made(5n) });
    expect(heard).toEqual([5n]);
    expect([token(answer), answer.headers.get('cache-control')]).toEqual([null, 'private, no-cache']);
    expect(written(await see(await start(wrote(7n)), { 'plimsoll-seen': made(9n) }))).toBeUndefined();
    expect(written(await see(await start(wrote(9n)), { 'plimsoll-seen': made(7n) }))).toBe(9n);
  });

  test('may hold several tokens, and the answer is one for all of them', async () => {
    const gateway = await start(nothing);
    expect(written(await see(gateway, { 'plimsoll-seen': `${made(5n)}, ${made(9n)},${made(7n)}` }))).toBe(9n);
  });

  test('goes with a failure too: what it did may have been committed', async () => {
    const gateway = await start(() => {
      seenNow().noteUnknown('db');
      return Promise.reject(new PlimsollError('PL_COMMIT_UNKNOWN', 'the connection broke'));
    });
    const answer = await see(gateway);
    expect(answer.status).toBe(503);
    expect(
      seenTokens()
        .read(token(answer) ?? '')
        ?.isUnknown('db'),
    ).toBe(true);
  });

  test('says that an outcome is unknown when the answer leaves before that of the database', async () => {
    const ends: (() => void)[] = [];
    const gateway = await start(
      () => {
        ends.push(seenNow().beginWrite('db'));
        return new Promise(() => undefined);
      },
      { requestTimeoutMs: 50 },
    );
    const answer = await see(gateway, { 'plimsoll-seen': made(5n) });
    const told = seenTokens().read(token(answer) ?? '');
    expect([answer.status, written(answer), told?.isUnknown('db')]).toEqual([504, 5n, true]);
    // Who has sent no token gets one, too.
    expect(
      seenTokens()
        .read(token(await see(gateway)) ?? '')
        ?.isUnknown('db'),
    ).toBe(true);
    for (const end of ends) end();
  });

  test('is off where the options say so', async () => {
    const answer = await see(await start(wrote(7n), { seen: false }), { 'plimsoll-seen': made(9n) });
    expect([token(answer), answer.headers.get('cache-control')]).toEqual([null, null]);
  });

  test('who sends none and has only read stays anonymous; an empty one asks for the first', async () => {
    const gateway = await start(() => {
      currentContext()?.seen.noteRead('db', '1.a', 5n);
      return Promise.resolve({});
    });
    const anonymous = await see(gateway);
    expect([token(anonymous), anonymous.headers.get('cache-control')]).toEqual([null, null]);
    for (const empty of ['', ', ,']) {
      const asked = await see(gateway, { 'plimsoll-seen': empty });
      expect(asked.headers.get('cache-control')).toBe('private, no-cache');
      expect(
        seenTokens()
          .read(token(asked) ?? '')
          ?.mark('db')?.read,
      ).toBe(5n);
    }
  });

  test.each([
    ['too short', 'x'],
    ['no base64url', '!'],
    ['too long', 'a'.repeat(maxTokenLength + 1)],
  ])('that is no token (%s) is ignored, and told of once', async (_what, bad) => {
    const scope = {};
    const told: BackgroundMessage[] = [];
    const stop = background.subscribe((message) => message.scope === scope && told.push(message));
    const gateway = await start(wrote(7n), { scope });
    for (let round = 0; round < 2; round += 1) {
      const answer = await see(gateway, { 'plimsoll-seen': bad });
      expect([answer.status, written(answer)]).toEqual([200, 7n]);
    }
    stop();
    expect(told).toHaveLength(1);
  });
});

describe('with a secret', () => {
  test('tokens are sealed, and those that are not count for nothing', async () => {
    const tokens = seenTokens(secret);
    const heard: (bigint | undefined)[] = [];
    const gateway = await start(
      () => {
        heard.push(seenNow().mark('db')?.written);
        return wrote(7n)();
      },
      { seen: { secret } },
    );
    const answer = await see(gateway, { 'plimsoll-seen': made(9n) });
    expect([written(answer), written(answer, tokens)]).toEqual([undefined, 7n]);
    await see(gateway, { 'plimsoll-seen': made(9n, tokens) });
    expect(heard).toEqual([undefined, 9n]);
  });

  test('that is too short nothing starts', () => {
    expect(() =>
      createGateway({
        scope: {},
        routes,
        call: nothing,
        ready: () => Promise.resolve(),
        seen: { secret: 'short', maxAgeMs: 1 },
      }),
    ).toThrow(/seen.secret: is too short(.|\n)*seen.maxAgeMs: is 1/);
  });
});

describe('the cookie', () => {
  test('is set where the options ask for it, and locked to the site on HTTPS', async () => {
    const gateway = await start(wrote(7n), { seen: { cookie: true } });
    const plain = await see(gateway);
    expect(plain.headers.get('set-cookie')).toBe(
      `plimsoll-seen=${token(plain)}; Max-Age=60; Path=/; HttpOnly; SameSite=Lax`,
    );
    const secured = await see(gateway, { 'x-forwarded-proto': 'https' });
    expect(secured.headers.get('set-cookie')).toBe(
      `__Host-plimsoll-seen=${token(secured)}; Max-Age=60; Path=/; HttpOnly; Secure; SameSite=Lax`,
    );
  });

  test('is read, and answered to who has sent it', async () => {
    const gateway = await start(wrote(7n));
    const cookie = `a=b; plimsoll-seen=${made(5n)}; plimsoll-seen-not=1`;
    const answer = await see(gateway, { cookie });
    expect(answer.headers.get('set-cookie')).toContain(`plimsoll-seen=${token(answer)};`);
    const unchanged = await see(gateway, { cookie: `plimsoll-seen=${made(9n)}` });
    expect([unchanged.headers.get('set-cookie'), unchanged.headers.get('cache-control')]).toEqual([
      null,
      'private, no-cache',
    ]);
    // On HTTPS only the one that no other site can plant.
    const https = await see(gateway, { cookie, 'x-forwarded-proto': 'https' });
    expect([https.headers.get('set-cookie'), written(https)]).toEqual([null, 7n]);
  });
});

describe('before the token leaves', () => {
  test('positions that were put off are taken, and only where there is something to tell', async () => {
    let settled = 0;
    const settle = (seen: Seen): Promise<void> => {
      settled += 1;
      seen.noteWritten('db', '1.a', 8n);
      return Promise.resolve();
    };
    const due = await start(
      () => {
        seenNow().noteUnknown('db');
        return Promise.resolve(undefined);
      },
      { settle },
    );
    const answer = await see(due);
    expect(written(answer)).toBe(8n);
    expect(
      seenTokens()
        .read(token(answer) ?? '')
        ?.isUnknown('db'),
    ).toBe(false);
    await see(await start(nothing, { settle }), { 'plimsoll-seen': made(9n) });
    expect(settled).toBe(1);
  });

  test.each<[string, () => Promise<void>]>([
    ['never answers', () => new Promise(() => undefined)],
    ['is down', () => Promise.reject(new Error('down'))],
    [
      'cannot be asked',
      () => {
        throw new Error('not running');
      },
    ],
  ])('a database that %s delays nothing, and the token needs the primary', async (_what, settle) => {
    const gateway = await start(
      () => {
        seenNow().noteUnknown('db');
        return Promise.resolve('fine');
      },
      { settle },
    );
    const answer = await see(gateway);
    expect(await answer.json()).toBe('fine');
    expect(
      seenTokens()
        .read(token(answer) ?? '')
        ?.isUnknown('db'),
    ).toBe(true);
  });
});

test('a route of a login keeps what it says of caches', async () => {
  const sessions = {
    cookieName: 'sid',
    ttlMs: 60_000,
    begin: () => Promise.resolve('id'),
    find: () => Promise.resolve(undefined),
    end: () => Promise.resolve(),
    endAllOf: () => Promise.resolve(0),
    forgetExpired: () => Promise.resolve(0),
  };
  const gateway = await start(
    async () => {
      await wrote(7n)();
      return { principal: 'ada' };
    },
    { sessions, routes: [route('/buy', shop.buy, { session: 'begin' })], seen: { cookie: true } },
  );
  const answer = await fetch(`${gateway.url}/buy`, { method: 'POST' });
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.headers.getSetCookie()).toEqual([
    expect.stringContaining('sid=id'),
    expect.stringContaining('plimsoll-seen='),
  ]);
});
