import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isPlimsollError, type PlimsollError } from '../kernel/errors.ts';
import { cloudflarePurger } from './cloudflare.ts';
import { fastlyPurger } from './fastly.ts';
import type { Purger } from './purger.ts';
import { requestPurger } from './request-purger.ts';

/** A request as it arrived. */
interface Heard {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}
interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

let server: Server;
let api: string;
const heard: Heard[] = [];
/** What is answered next; the last one again and again. `undefined`: the connection breaks. */
let answers: (Answer | undefined)[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      heard.push({ method, url, headers, body: Buffer.concat(chunks).toString() });
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer === undefined) request.socket.destroy();
      else response.writeHead(answer.status, answer.headers).end(JSON.stringify(answer.body ?? {}));
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  api = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
afterEach(() => {
  heard.splice(0);
});

const token = 'a-token-that-nobody-may-see';
const failureOf = (purge: Promise<void>): Promise<PlimsollError> =>
  purge.then(
    () => Promise.reject(new Error('it was purged')),
    (error: unknown) => error as PlimsollError,
  );
/** No wait between attempts. */
const clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: () => Promise.resolve(),
};
const numbered = (count: number): string[] => Array.from({ length: count }, (_none, n) => `tag-${n}`);

describe('Fastly', () => {
  // https://www.fastly.com/documentation/reference/api/purging: 200 with an id for each key.
  const done: Answer = { status: 200, body: { 'product:7': '108-1391560174-974124' } };
  const fastly = (options: Partial<Parameters<typeof fastlyPurger>[0]> = {}): Purger =>
    fastlyPurger({ serviceId: 'SU1Z0isxPaozGVKXdv0eY', token, api, clock, ...options });

  test('gets the documented request, soft unless told otherwise', async () => {
    answers = [done];
    await fastly().purge(['product:7', 'a b', 'product:7']);
    const [request] = heard;
    expect(heard).toHaveLength(1);
    expect(request).toMatchObject({ method: 'POST', url: '/service/SU1Z0isxPaozGVKXdv0eY/purge' });
    expect(request?.headers).toMatchObject({
      'fastly-key': token,
      'fastly-soft-purge': '1',
      'content-type': 'application/json',
      accept: 'application/json',
    });
    expect(JSON.parse(request?.body ?? '')).toEqual({ surrogate_keys: ['product:7', 'a%20b'] });
    await fastly({ soft: false }).purge(['product:7']);
    expect(heard[1]?.headers).not.toHaveProperty('fastly-soft-purge');
  });

  test('gets at most 256 keys in a request, and none for none', async () => {
    answers = [done];
    await fastly().purge(numbered(600));
    const sizes = heard.map(({ body }) => (JSON.parse(body) as { surrogate_keys: [] }).surrogate_keys.length);
    expect(sizes).toEqual([256, 256, 88]);
    await fastly().purge([]);
    expect(heard).toHaveLength(3);
  });

  test('is purged twice where it is shielded', async () => {
    answers = [done];
    const slept: number[] = [];
    const sleep = (ms: number): Promise<void> => Promise.resolve(void slept.push(ms));
    await fastly({ againAfterMs: 2_000, clock: { ...clock, sleep } }).purge(['t']);
    expect([heard.length, slept]).toEqual([2, [2_000]]);
    expect(heard[1]?.body).toBe(heard[0]?.body);
  });

  test('that refuses the token is told of, and not asked again', async () => {
    // As documented: https://www.fastly.com/documentation/reference/api/#status-codes
    answers = [
      { status: 401, body: { msg: 'Provided credentials are missing or invalid', detail: `token ${token}` } },
    ];
    const error = await failureOf(fastly().purge(['t']));
    expect(error.code).toBe('PL_REMOTE_FAILED');
    expect(error.message).toContain('401');
    expect(error.message).toContain('credentials are missing or invalid');
    expect(error.message).toContain('check the token');
    expect(inspect(error, { depth: 10 })).not.toContain(token);
    expect(heard).toHaveLength(1);
  });
});

describe('Cloudflare', () => {
  const done: Answer = {
    status: 200,
    body: { success: true, errors: [], messages: [], result: { id: '023e105f' } },
  };
  const cloudflare = (options: Partial<Parameters<typeof cloudflarePurger>[0]> = {}): Purger =>
    cloudflarePurger({
      zoneId: '023e105f4ecef8ad9ca31a8372d0c353',
      token,
      api: `${api}/client/v4`,
      clock,
      ...options,
    });

  test('gets the documented request, and one for each 100 tags', async () => {
    answers = [done];
    await cloudflare().purge(numbered(250));
    expect(heard.map(({ method, url }) => `${method} ${url}`)).toEqual(
      Array.from({ length: 3 }, () => 'POST /client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache'),
    );
    expect(heard[0]?.headers).toMatchObject({
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
    });
    const tags = heard.map(({ body }) => (JSON.parse(body) as { tags: string[] }).tags);
    expect(tags.map(({ length }) => length)).toEqual([100, 100, 50]);
    expect(tags.flat()).toEqual(numbered(250));
    expect(Object.keys(JSON.parse(heard[0]?.body ?? '') as object)).toEqual(['tags']);
  });

  test('may only mark as stale', async () => {
    answers = [done];
    await cloudflare({ soft: true }).purge(['t']);
    expect(heard[0]?.url).toMatch(/\/invalidate_cache$/);
  });

  test('that asks to be left alone for a moment is asked again after it, for longer it is not', async () => {
    const limited = (seconds: string): Answer => ({
      status: 429,
      headers: { 'retry-after': seconds },
      body: { success: false, errors: [{ code: 971, message: 'Please wait and consider throttling' }] },
    });
    const slept: number[] = [];
    const sleep = (ms: number): Promise<void> => Promise.resolve(void slept.push(ms));
    answers = [limited('1'), done];
    await cloudflare({ clock: { ...clock, sleep } }).purge(['t']);
    expect(heard).toHaveLength(2);
    expect(slept[0]).toBeGreaterThanOrEqual(1_000);
    answers = [limited('30')];
    const error = await failureOf(cloudflare().purge(['t']));
    expect(error.data).toMatchObject({ status: 429, retryAfterMs: 30_000 });
    expect(error.message).toContain('consider throttling');
    expect(heard).toHaveLength(3);
  });

  test('is not believed where it says 200 and no success', async () => {
    answers = [
      { status: 200, body: { success: false, errors: [{ code: 1134, message: 'Unable to purge' }] } },
    ];
    const error = await failureOf(cloudflare().purge(['t']));
    expect([error.code, error.message]).toEqual([
      'PL_REMOTE_FAILED',
      expect.stringContaining('Unable to purge'),
    ]);
  });
});

describe('a request of its own', () => {
  const done: Answer = { status: 200 };

  test('is PURGE with a field of tags, to each cache', async () => {
    answers = [done];
    const urls = [`${api}/one`, `${api}/two`] as const;
    await requestPurger({ name: 'varnish', urls, clock, headers: { 'x-purge-token': token } }).purge([
      'a b',
      'c',
    ]);
    expect(heard.map(({ method, url, headers }) => [method, url, headers['surrogate-key']])).toEqual([
      ['PURGE', '/one', 'a%20b c'],
      ['PURGE', '/two', 'a%20b c'],
    ]);
    expect(heard[0]?.headers['x-purge-token']).toBe(token);
  });

  test('may have another method, field and separator, and no field is longer than caches read', async () => {
    answers = [done];
    const souin = requestPurger({
      name: 'souin',
      urls: [api],
      clock,
      method: 'POST',
      field: 'x-tags',
      separator: ', ',
    });
    const tags = numbered(2_000);
    await souin.purge(tags);
    const fields = heard.map(({ headers }) => String(headers['x-tags']));
    expect(Math.max(...fields.map(({ length }) => length))).toBeLessThanOrEqual(3_000);
    expect(fields.flatMap((field) => field.split(', '))).toEqual(tags);
    expect(heard[0]?.method).toBe('POST');
  });

  test('is refused where one cache refuses it', async () => {
    answers = [done, { status: 405 }];
    const purger = requestPurger({ name: 'varnish', urls: [`${api}/one`, `${api}/two`], clock });
    const error = await failureOf(purger.purge(['t']));
    expect(error.message).toContain('not set up to take this method');
  });
});

describe('a failure of the moment', () => {
  const purger = (): Purger =>
    requestPurger({ name: 'varnish', urls: [api], clock, headers: { authorization: token } });

  test.each([
    ['503', { status: 503 }],
    ['500', { status: 500 }],
    ['a broken connection', undefined],
  ])('is overcome: %s', async (_what, answer) => {
    answers = [answer, answer, { status: 200 }];
    await purger().purge(['t']);
    expect(heard).toHaveLength(3);
  });

  test('that stays is told of, without the credentials', async () => {
    answers = [undefined];
    const error = await failureOf(purger().purge(['t']));
    expect(isPlimsollError(error, 'PL_NETWORK')).toBe(true);
    expect(heard).toHaveLength(3);
    expect(inspect(error, { depth: 10 })).not.toContain(token);
  });

  test('may be silence', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => void silent.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const error = await failureOf(
      requestPurger({ name: 'silent', urls: [url], timeoutMs: 20, attempts: 1 }).purge(['t']),
    );
    expect(error.code).toBe('PL_TIMEOUT');
    silent.closeAllConnections();
    silent.close();
  });

  test('that sends elsewhere is a failure: the credentials go nowhere else', async () => {
    answers = [{ status: 302, headers: { location: `${api}/elsewhere` } }];
    expect((await failureOf(purger().purge(['t']))).data).toMatchObject({ status: 302 });
    expect(heard).toHaveLength(1);
  });
});

test('options that cannot be are told, all of them, and never a secret', () => {
  const bad = `${token}\nx`;
  const messageOf = (make: () => unknown): string => {
    try {
      make();
    } catch (error) {
      return inspect(error, { depth: 10 });
    }
    return '';
  };
  const fastly = messageOf(() => fastlyPurger({ serviceId: '../x', token: bad, api: 'ftp://x' }));
  expect(fastly).toMatch(/serviceId: (.|\n)*token: (.|\n)*api: /);
  const cloudflare = messageOf(() => cloudflarePurger({ zoneId: '', token: '' }));
  expect(cloudflare).toMatch(/zoneId: (.|\n)*token: /);
  const request = messageOf(() =>
    requestPurger({
      name: 'x',
      urls: [`http://user:${token}@x`],
      method: 'purge it',
      field: 'a b',
      separator: 'x',
      headers: { authorization: bad },
    }),
  );
  expect(request).toMatch(/urls\[0\](.|\n)*authorization(.|\n)*method(.|\n)*separator(.|\n)*field/);
  for (const message of [fastly, cloudflare, request]) expect(message).not.toContain(token);
});
