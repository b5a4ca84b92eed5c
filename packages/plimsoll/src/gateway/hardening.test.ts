import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { currentContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { command, contract, query } from '../modules/contract.ts';
import { createGateway, type Gateway } from './gateway.ts';
import type { GatewayOptions } from './options.ts';
import { route } from './route.ts';

const anything = z.unknown();
const shapes = contract('shapes', {
  echo: query({ input: anything, output: anything }),
  keep: command({ input: anything, output: anything }),
});
const running: Gateway[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(running.splice(0).map((gateway) => gateway.stop()));
});

async function start(
  options: Partial<GatewayOptions> = {},
): Promise<Gateway & { readonly served: unknown[] }> {
  const served: unknown[] = [];
  const gateway = createGateway({
    scope: {},
    port: 0,
    routes: [route('/echo', shapes.echo), route('/keep', shapes.keep)],
    call(_operation, input) {
      served.push(input);
      return Promise.resolve(input);
    },
    ready: () => Promise.resolve(),
    ...options,
  });
  running.push(gateway);
  await gateway.start();
  return Object.assign(gateway, { served });
}

async function dial(
  gateway: Gateway,
): Promise<{ socket: Socket; heard: () => string; ended: Promise<unknown> }> {
  const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  sockets.push(socket);
  let heard = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    heard += chunk;
  });
  socket.on('error', () => undefined);
  const ended = once(socket, 'close');
  await once(socket, 'connect');
  return { socket, heard: () => heard, ended };
}

const hidden = 'GET /echo?hidden=1 HTTP/1.1\r\nhost: x\r\n\r\n';
const post = 'POST /keep HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n';
const get = 'GET /echo?first=1 HTTP/1.1\r\nhost: x\r\n';

describe('a request that could be read in two ways is refused, and nothing that hides in it is served', () => {
  test.each([
    [
      'Content-Length and Transfer-Encoding',
      `${post}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    [
      'Transfer-Encoding and Content-Length',
      `${post}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    ['two lengths that differ', `${post}content-length: 2\r\ncontent-length: 40\r\n\r\n{}${hidden}`],
    ['two lengths that agree', `${post}content-length: 2\r\ncontent-length: 2\r\n\r\n{}${hidden}`],
    ['a list of lengths', `${post}content-length: 2, 2\r\n\r\n{}${hidden}`],
    ['a length with a sign', `${post}content-length: +2\r\n\r\n{}${hidden}`],
    ['a negative length', `${post}content-length: -2\r\n\r\n{}${hidden}`],
    ['a length in hex', `${post}content-length: 0x2\r\n\r\n{}${hidden}`],
    ['a length beyond all numbers', `${post}content-length: 99999999999999999999999\r\n\r\n{}${hidden}`],
    ['an empty length', `${post}content-length: \r\n\r\n{}${hidden}`],
    [
      'Transfer-Encoding: identity',
      `${post}transfer-encoding: identity\r\ncontent-length: 2\r\n\r\n{}${hidden}`,
    ],
    ['chunked that is not last', `${post}transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n${hidden}`],
    [
      'chunked twice',
      `${post}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    ['an unknown coding', `${post}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n${hidden}`],
    ['a coding with a tab before its colon', `${post}transfer-encoding\t: chunked\r\n\r\n0\r\n\r\n${hidden}`],
    [
      'a coding with a space before its colon',
      `${post}transfer-encoding : chunked\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    [
      'a chunk size that is no number',
      `${post}transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n${hidden}`,
    ],
    ['a chunk size with a sign', `${post}transfer-encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n${hidden}`],
    ['a chunk size with 0x', `${post}transfer-encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n${hidden}`],
    [
      'a chunk size that overflows',
      `${post}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n${hidden}`,
    ],
    [
      'a chunk longer than its size',
      `${post}transfer-encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n${hidden}`,
    ],
    [
      'a chunk size that ends in a bare LF',
      `${post}transfer-encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n${hidden}`,
    ],
    ['a folded header', `${get}x-a: 1\r\n content-length: 5\r\n\r\n${hidden}`],
    ['a header line that ends in a bare LF', `${get}x-a: 1\nx-b: 2\r\n\r\n${hidden}`],
    ['a bare CR in a header', `${get}x-a: 1\rx-b: 2\r\n\r\n${hidden}`],
    ['a NUL in a header', `${get}x-a: 1\0\r\n\r\n${hidden}`],
    ['a header without a colon', `${get}nonsense\r\n\r\n${hidden}`],
    ['a header without a name', `${get}: 1\r\n\r\n${hidden}`],
    ['a space before the first header', `GET /echo?first=1 HTTP/1.1\r\n host: x\r\n\r\n${hidden}`],
    ['a space in the path', `GET /echo ?a=1 HTTP/1.1\r\nhost: x\r\n\r\n${hidden}`],
    ['an unknown version', `GET /echo?first=1 HTTP/1.9\r\nhost: x\r\n\r\n${hidden}`],
    ['an unknown method', `GIT /echo?first=1 HTTP/1.1\r\nhost: x\r\n\r\n${hidden}`],
  ])('%s', async (_what, text) => {
    const gateway = await start();
    const { socket, heard, ended } = await dial(gateway);
    socket.write(text);
    await ended;
    expect(heard()).toMatch(/^HTTP\/1\.1 400 /);
    expect(heard().match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(JSON.stringify(gateway.served)).not.toContain('hidden');
    await expect.poll(() => gateway.inFlight).toBe(0);
    expect((await fetch(`${gateway.url}/echo`)).status).toBe(200);
  });

  test('a request without a host is refused and its connection closed', async () => {
    const gateway = await start();
    const { socket, heard, ended } = await dial(gateway);
    socket.write('GET /echo HTTP/1.1\r\n\r\n');
    await ended;
    expect(heard()).toMatch(/^HTTP\/1\.1 400 /);
    expect(gateway.served).toEqual([]);
  });

  test('the same requests are served when nothing is wrong with them', async () => {
    const gateway = await start();
    const { socket, heard } = await dial(gateway);
    socket.write(
      `${post}content-length: 2\r\n\r\n{}${post}transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n${hidden}`,
    );
    await expect.poll(() => heard().match(/HTTP\/1\.1 200 /g)).toHaveLength(3);
    // In any order: a request without a body waits for none.
    expect(gateway.served).toHaveLength(3);
    expect(gateway.served).toEqual(expect.arrayContaining([{}, {}, { hidden: '1' }]));
  });
});

describe('limits of headers, answers and connections', () => {
  test('more header fields than the limit are 431, as many as the limit are read', async () => {
    const gateway = await start({ maxHeaders: 10 });
    const fields = (count: number): string =>
      Array.from({ length: count }, (_, index) => `x-${index}: ${index}\r\n`).join('');
    const { socket, heard } = await dial(gateway);
    socket.write(`${get}${fields(9)}\r\n`);
    await expect.poll(heard).toMatch(/^HTTP\/1\.1 200 /);
    const over = await dial(gateway);
    over.socket.write(`${get}${fields(10)}\r\n`);
    await expect.poll(over.heard).toMatch(/^HTTP\/1\.1 431 .*PL_HEADERS_TOO_LARGE/s);
    expect(gateway.served).toHaveLength(1);
  });

  test('headers larger than 16 KiB are 431 and the connection is closed', async () => {
    const gateway = await start();
    const { socket, heard, ended } = await dial(gateway);
    socket.write(`${get}x-a: ${'x'.repeat(17_000)}\r\n\r\n${hidden}`);
    await ended;
    expect(heard()).toMatch(/^HTTP\/1\.1 431 /);
    expect(gateway.served).toEqual([]);
  });

  test('headers that come too slowly are cut', async () => {
    const gateway = await start({ requestTimeoutMs: 100 });
    const { socket, heard, ended } = await dial(gateway);
    socket.write(get);
    await ended;
    expect(heard()).toMatch(/^HTTP\/1\.1 408 /);
    expect(gateway.served).toEqual([]);
  });

  // More than the buffers of both ends hold.
  const large = 'x'.repeat(32 * 1_048_576);
  /** Has asked for a large answer, and does not read it. */
  async function stuckClient(options: Partial<GatewayOptions>) {
    const { promise: asked, resolve } = Promise.withResolvers<void>();
    const gateway = await start({
      call(operation) {
        if (operation === shapes.keep) return Promise.resolve('small');
        resolve();
        return Promise.resolve(large);
      },
      ...options,
    });
    const client = await dial(gateway);
    client.socket.pause();
    client.socket.write(`${get}\r\n`);
    await asked;
    return { gateway, ...client };
  }

  test('while a client does not read its answer, others are served', async () => {
    const { gateway } = await stuckClient({});
    expect((await fetch(`${gateway.url}/keep`, { method: 'POST' })).status).toBe(200);
    expect(gateway.inFlight).toBe(1);
  });

  test('a client that does not read its answer is cut', { timeout: 60_000 }, async () => {
    const { gateway, socket, heard, ended } = await stuckClient({
      requestTimeoutMs: 2_000,
      answerTimeoutMs: 1,
    });
    await expect.poll(() => gateway.inFlight, { timeout: 30_000 }).toBe(0);
    // What its end holds may still arrive.
    socket.resume();
    await ended;
    expect(heard().length).toBeLessThan(large.length);
  });

  test('pipelined requests are answered in their order, whichever is done first', async () => {
    const { promise: slow, resolve } = Promise.withResolvers<void>();
    const finished: unknown[] = [];
    const gateway = await start({
      async call(_operation, input) {
        if ((input as { n: string }).n === '1') await slow;
        finished.push(input);
        return input;
      },
    });
    const { socket, heard } = await dial(gateway);
    for (const n of [1, 2, 3]) socket.write(`GET /echo?n=${n} HTTP/1.1\r\nhost: x\r\n\r\n`);
    await expect.poll(() => finished.length).toBe(2);
    expect(heard()).toBe('');
    resolve();
    await expect
      .poll(() => [...heard().matchAll(/\{"n":"(\d)"\}/g)].map(([, n]) => n))
      .toEqual(['1', '2', '3']);
    expect(gateway.inFlight).toBe(0);
  });
});

describe('security headers', () => {
  const expected = {
    'content-security-policy': "default-src 'none';frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
  };

  test('are on every answer, refusals too, and nothing tells what we run on', async () => {
    const gateway = await start({ maxInFlight: 0 });
    for (const path of ['/echo', '/nowhere', '/healthz', '/readyz']) {
      const { headers } = await fetch(`${gateway.url}${path}`);
      expect(Object.fromEntries(headers)).toMatchObject(expected);
      expect(headers.get('x-powered-by') ?? headers.get('server')).toBeNull();
      expect(headers.get('access-control-allow-origin')).toBeNull();
    }
    const unreadable = await fetch(`${gateway.url}/echo/%zz`);
    expect(unreadable.headers.get('x-content-type-options')).toBe('nosniff');
  });
});

describe('CORS', () => {
  const origin = 'https://shop.example';
  const preflight = (url: string, from: string): Promise<Response> =>
    fetch(url, { method: 'OPTIONS', headers: { origin: from, 'access-control-request-method': 'POST' } });

  test('is off unless origins are listed', async () => {
    const gateway = await start();
    const answered = await fetch(`${gateway.url}/echo`, { headers: { origin } });
    expect(answered.headers.get('access-control-allow-origin')).toBeNull();
    const asked = await preflight(`${gateway.url}/keep`, origin);
    expect(asked.headers.get('access-control-allow-origin')).toBeNull();
    expect(asked.headers.get('access-control-allow-methods')).toBeNull();
  });

  test('lets listed origins read, on refusals too, and no other', async () => {
    const gateway = await start({ cors: { origins: [origin], credentials: true }, maxInFlight: 0 });
    const refused = await fetch(`${gateway.url}/echo`, { headers: { origin } });
    expect(refused.status).toBe(503);
    expect(Object.fromEntries(refused.headers)).toMatchObject({
      'access-control-allow-origin': origin,
      'access-control-allow-credentials': 'true',
      'cross-origin-resource-policy': 'cross-origin',
      vary: 'Origin',
    });
    for (const other of [
      'https://evil.example',
      'https://shop.example.evil.example',
      'null',
      'http://shop.example',
    ]) {
      const answered = await fetch(`${gateway.url}/echo`, { headers: { origin: other } });
      expect(answered.headers.get('access-control-allow-origin')).toBeNull();
      const asked = await preflight(`${gateway.url}/keep`, other);
      expect(asked.headers.get('access-control-allow-origin')).toBeNull();
    }
    const asked = await preflight(`${gateway.url}/keep`, origin);
    expect(asked.status).toBe(204);
    expect(asked.headers.get('access-control-allow-methods')).toBe('GET, HEAD, POST');
    expect(asked.headers.get('access-control-allow-headers')).toContain('idempotency-key');
  });

  test('origins that are none, and credentials for everyone, are configuration problems', () => {
    const options = { scope: {}, routes: [], call: () => Promise.resolve(), ready: () => Promise.resolve() };
    expect(() =>
      createGateway({ ...options, cors: { origins: ['shop.example', 'https://a.example/'] } }),
    ).toThrow(/cors\.origins\[0\].*\n.*cors\.origins\[1\]/);
    expect(() => createGateway({ ...options, cors: { origins: ['*'], credentials: true } })).toThrow(
      expect.objectContaining({ code: 'PL_CONFIG' }),
    );
    expect(() =>
      createGateway({ ...options, routes: [route('/k', shapes.keep, { enqueue: true })] }),
    ).toThrow(/needs the option `enqueue`/);
    expect(() =>
      createGateway({ ...options, routes: [route('/k', shapes.keep, { session: 'end' })] }),
    ).toThrow(/needs the option `sessions`/);
  });
});

describe('who asks', () => {
  test('the hook gives the context its caller, from headers and cookies', async () => {
    const callers: unknown[] = [];
    const gateway = await start({
      call() {
        callers.push(currentContext()?.caller);
        return Promise.resolve('ok');
      },
      authenticate: ({ headers, cookies }) => {
        if (headers.authorization === 'no')
          return Promise.reject(new PlimsollError('PL_UNAUTHENTICATED', 'the token is not valid'));
        const principal = headers.authorization ?? cookies['who'];
        return Promise.resolve(principal === undefined ? undefined : { principal, tenant: 't' });
      },
    });
    const ask = (headers: Readonly<Record<string, string>>): Promise<Response> =>
      fetch(`${gateway.url}/echo`, { headers });
    await ask({ authorization: 'ann' });
    await ask({ cookie: 'a=1; who=bob' });
    await ask({});
    const refused = await ask({ authorization: 'no' });
    expect([refused.status, await refused.json()]).toMatchObject([401, { code: 'PL_UNAUTHENTICATED' }]);
    expect(callers).toEqual([{ principal: 'ann', tenant: 't' }, { principal: 'bob', tenant: 't' }, {}]);
  });

  test('a hook that hangs is cut by the time limit', async () => {
    const gateway = await start({ authenticate: () => new Promise(() => undefined), requestTimeoutMs: 50 });
    expect((await fetch(`${gateway.url}/echo`)).status).toBe(504);
    expect(gateway.served).toEqual([]);
  });
});
