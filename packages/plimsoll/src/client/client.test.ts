import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createGateway, type Gateway } from '../gateway/gateway.ts';
import type { GatewayOptions } from '../gateway/options.ts';
import { route } from '../gateway/route.ts';
import { currentContext, type RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { command, contract, query, type AnyOperation } from '../modules/contract.ts';
import { clientDefaults, createClient, type Client } from './client.ts';

// #region routes
const orders = contract('orders', {
  place: command({
    input: z.object({ sku: z.string() }),
    output: z.object({ id: z.string() }),
    errors: { OutOfStock: z.object({ left: z.number() }) },
  }),
  byId: query({ input: z.object({ id: z.string() }), output: z.object({ id: z.string() }).nullable() }),
});
const routes = [
  route('/orders', orders.place, { status: 201, errors: { OutOfStock: 409 } }),
  route('/orders/:id', orders.byId),
];
// #endregion
const anything = z.unknown();
const shapes = contract('shapes', {
  see: query({ input: anything, output: anything }),
  under: query({ input: anything, output: anything }),
  keep: command({ input: anything, output: anything }),
  touch: command({ input: anything }),
  later: command({ input: anything, errors: { Never: z.object({}) } }),
  nowhere: query({ input: anything, output: anything }),
});
const all = [
  ...routes,
  route('/see', shapes.see),
  route('/under/:id(^.+$)/:name', shapes.under),
  route('/keep/:id', shapes.keep),
  route('/touch', shapes.touch),
  route('/later', shapes.later, { enqueue: true }),
];
const running: Gateway[] = [];
const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  await Promise.all(running.splice(0).map((gateway) => gateway.stop()));
});

async function start(
  call: GatewayOptions['call'],
  options: Partial<GatewayOptions> = {},
): Promise<{ client: Client; gateway: Gateway }> {
  const gateway = createGateway({
    scope: {},
    port: 0,
    routes: all,
    call,
    ready: () => Promise.resolve(),
    enqueue: () => Promise.resolve('job-1'),
    ...options,
  });
  running.push(gateway);
  await gateway.start();
  return { gateway, client: createClient({ baseUrl: gateway.url, routes: all }) as Client };
}

/** A client of a server that answers as it is told. */
async function against(listener: RequestListener): Promise<Client> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return createClient({ baseUrl: `http://127.0.0.1:${port}`, routes: all }) as Client;
}

const echo: GatewayOptions['call'] = (_operation, input) => Promise.resolve(input);

test('the page lists exactly the defaults there are', () => {
  const page = readFileSync(new URL('../../../../docs/patterns/client.md', import.meta.url), 'utf8');
  const section = page.split('\n## ').find((part) => part.startsWith('Defaults')) ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| ([^|]+?) \|/gm)].map(([, option, value]) => [
    option,
    value,
  ]);
  expect(rows).toEqual(Object.entries(clientDefaults).map(([option, value]) => [option, String(value)]));
});

test('what the page shows', async () => {
  const { gateway } = await start(() =>
    Promise.resolve({ ok: false, error: 'OutOfStock', data: { left: 2 } }),
  );
  const shown: unknown[] = [];
  const { url } = gateway;
  // #region usage
  const client = createClient({ baseUrl: url, routes });
  const placed = await client.call(orders.place, { sku: 'tea' }, { idempotencyKey: 'basket-7' });
  if (placed.ok) shown.push(placed.value.id);
  else shown.push(`only ${placed.data.left} left`);
  // #endregion
  expect(shown).toEqual(['only 2 left']);
});

describe('inputs arrive as they were given', () => {
  test.each<[string, AnyOperation, unknown, unknown]>([
    ['a query string', shapes.see, { a: 'x y&=?#', b: 'é' }, { a: 'x y&=?#', b: 'é' }],
    [
      'numbers and dates, as text',
      shapes.see,
      { n: 1.5, t: true, d: new Date(0) },
      { n: '1.5', t: 'true', d: '1970-01-01T00:00:00.000Z' },
    ],
    ['a list', shapes.see, { a: ['1', '2'] }, { a: ['1', '2'] }],
    ['nothing', shapes.see, {}, {}],
    ['what is undefined', shapes.see, { a: undefined, b: '1' }, { b: '1' }],
    [
      'path parameters',
      shapes.under,
      { id: 'a/b?c#d%', name: '../é', q: '1' },
      { id: 'a/b?c#d%', name: '../é', q: '1' },
    ],
    [
      'a body and a path parameter',
      shapes.keep,
      { id: 'a b', deep: { list: [null, 1] } },
      { id: 'a b', deep: { list: [null, 1] } },
    ],
  ])('%s', async (_what, operation, input, arrived) => {
    const { client } = await start(echo);
    expect(await client.call(operation, input)).toEqual(arrived);
  });

  test.each<[string, AnyOperation, unknown]>([
    ['a path parameter that is missing', shapes.keep, { note: 'x' }],
    ['an empty one', shapes.keep, { id: '' }],
    ['a dot', shapes.keep, { id: '.' }],
    ['two dots', shapes.keep, { id: '..' }],
    ['null in a query string', shapes.see, { a: null }],
    ['an object in a query string', shapes.see, { a: { b: 1 } }],
  ])('%s is refused before anything is sent', async (_what, operation, input) => {
    let asked = 0;
    const client = await against(() => {
      asked += 1;
    });
    await expect(client.call(operation, input)).rejects.toMatchObject({ code: 'PL_INPUT_INVALID' });
    expect(asked).toBe(0);
  });
});

describe('results are those of app.call', () => {
  test('an output, nothing, null, a value or a declared error', async () => {
    const answers = new Map<AnyOperation, unknown>([
      [orders.place, { ok: true, value: { id: 'o1' } }],
      [orders.byId, null],
      [shapes.touch, undefined],
    ]);
    const { client } = await start((operation) => Promise.resolve(answers.get(operation)));
    expect(await client.call(orders.place, { sku: 'a' })).toEqual({ ok: true, value: { id: 'o1' } });
    expect(await client.call(orders.byId, { id: 'x' })).toBeNull();
    expect(await client.call(shapes.touch, {})).toBeUndefined();
    answers.set(orders.place, { ok: false, error: 'OutOfStock', data: { left: 2 } });
    expect(await client.call(orders.place, { sku: 'a' })).toEqual({
      ok: false,
      error: 'OutOfStock',
      data: { left: 2 },
    });
  });

  test('key and correlation id go along; each command has a key of its own otherwise', async () => {
    const contexts: (RequestContext | undefined)[] = [];
    const { client } = await start((_operation, input) => {
      contexts.push(currentContext());
      return Promise.resolve(input);
    });
    await client.call(shapes.keep, { id: '1' }, { idempotencyKey: 'basket-7', correlationId: 'trace-1' });
    await client.call(shapes.keep, { id: '1' });
    await client.call(shapes.keep, { id: '1' });
    expect(contexts[0]).toMatchObject({ key: 'basket-7', correlationId: 'trace-1' });
    expect(new Set(contexts.map((context) => context?.key)).size).toBe(3);
  });

  test('an error of ours is thrown with its code, facts and correlation id', async () => {
    const { client } = await start(() =>
      Promise.reject(new PlimsollError('PL_INPUT_INVALID', 'sku: too short', { data: { path: 'sku' } })),
    );
    await expect(client.call(shapes.see, {}, { correlationId: 'trace-2' })).rejects.toMatchObject({
      code: 'PL_INPUT_INVALID',
      message: 'shapes.see: sku: too short',
      data: { path: 'sku', status: 400, correlationId: 'trace-2' },
    });
    const busy = await start(echo, { maxInFlight: 0 });
    await expect(busy.client.call(shapes.see, {})).rejects.toMatchObject({
      code: 'PL_OVERLOADED',
      retryable: true,
      data: {
        status: 503,
        retryAfterMs: expect.toSatisfy((ms: number) => [1_000, 2_000, 3_000].includes(ms)) as number,
      },
    });
  });

  test('a bug of the server is PL_REMOTE_FAILED and says nothing of it', async () => {
    const { client } = await start(() => Promise.reject(new Error('secret')));
    const failure = client.call(shapes.see, {}, { correlationId: 'trace-3' });
    await expect(failure).rejects.toMatchObject({
      code: 'PL_REMOTE_FAILED',
      data: { status: 500, code: 'INTERNAL', correlationId: 'trace-3' },
    });
    await expect(failure).rejects.not.toThrow(/secret/);
  });

  test('an error that looks declared, but is of another operation or undeclared, is thrown', async () => {
    for (const type of [
      'urn:plimsoll:operation:orders.cancel:OutOfStock',
      'urn:plimsoll:operation:orders.place:Other',
    ]) {
      const code = type.split(':').at(-1);
      const client = await against((_request, response) => {
        response.writeHead(409, { 'content-type': 'application/problem+json' });
        response.end(JSON.stringify({ type, title: 'x', status: 409, code, correlationId: 'c', data: {} }));
      });
      await expect(client.call(orders.place, { sku: 'a' })).rejects.toMatchObject({
        code: 'PL_REMOTE_FAILED',
      });
    }
  });

  test('a job that is accepted', async () => {
    const { client } = await start(echo, {
      jobStatus: (jobId) =>
        Promise.resolve(
          jobId === 'job-1' ? { jobId, name: 'shapes.later', state: 'queued', acceptedAt: 'now' } : undefined,
        ),
    });
    expect(await client.enqueue(shapes.later, { a: 1 })).toEqual({ jobId: 'job-1' });
    expect(await client.job('job-1')).toMatchObject({ state: 'queued' });
    await expect(client.job('job-2')).rejects.toMatchObject({ code: 'PL_JOB_UNKNOWN' });
    await expect(client.call(shapes.later, {})).rejects.toMatchObject({ code: 'PL_CONFIG' });
    await expect(client.enqueue(shapes.touch, {})).rejects.toMatchObject({ code: 'PL_CONFIG' });
    await expect(client.call(shapes.nowhere, {})).rejects.toMatchObject({ code: 'PL_UNKNOWN_OPERATION' });
  });
});

describe('what never came back is typed', () => {
  test('nobody listens', async () => {
    const { gateway, client } = await start(echo);
    await gateway.stop();
    await expect(client.call(shapes.see, {})).rejects.toMatchObject({ code: 'PL_NETWORK' });
  });

  test.each<[string, RequestListener, string]>([
    ['a connection that breaks before the answer', (request) => request.socket.destroy(), 'PL_NETWORK'],
    [
      'a connection that breaks within the answer',
      (request, response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' });
        response.write('{"a":', () => request.socket.destroy());
      },
      'PL_NETWORK',
    ],
    [
      'a redirect, even to something that answers',
      (request, response) => {
        if (request.url === '/see') response.writeHead(302, { location: '/elsewhere' }).end();
        else response.end('{}');
      },
      'PL_NETWORK',
    ],
    [
      'a page of a proxy',
      (_request, response) => response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>'),
      'PL_REMOTE_FAILED',
    ],
    ['a success that is no JSON', (_request, response) => response.end('<h1>hello'), 'PL_REMOTE_FAILED'],
    [
      'a problem that is none',
      (_request, response) =>
        response.writeHead(400, { 'content-type': 'application/problem+json' }).end('{"a":1}'),
      'PL_REMOTE_FAILED',
    ],
    [
      'a problem that is no JSON',
      (_request, response) =>
        response.writeHead(400, { 'content-type': 'application/problem+json' }).end('{'),
      'PL_REMOTE_FAILED',
    ],
  ])('%s', async (_what, listener, code) => {
    const client = await against(listener);
    await expect(client.call(shapes.see, {})).rejects.toMatchObject({ name: 'PlimsollError', code });
  });

  test('no answer in time, and a caller who cancels', async () => {
    const asked = Promise.withResolvers<void>();
    const client = await against(() => asked.resolve());
    await expect(client.call(shapes.see, {}, { timeoutMs: 30 })).rejects.toMatchObject({
      code: 'PL_DEADLINE',
    });
    const cancel = new AbortController();
    const failure = expect(client.call(shapes.see, {}, { signal: cancel.signal })).rejects.toMatchObject({
      code: 'PL_ABORTED',
      cause: 'enough',
    });
    await asked.promise;
    cancel.abort('enough');
    await failure;
  });
});

describe('what a call has seen, the next one sends', () => {
  /** A server whose answers wait until they are let go, and what each request has sent. */
  const holding = async (): Promise<{
    client: Client;
    requests: { sent: string | undefined; answer: (token?: string) => void }[];
  }> => {
    const requests: { sent: string | undefined; answer: (token?: string) => void }[] = [];
    const client = await against(({ headers }, response) => {
      requests.push({
        sent: headers['plimsoll-seen'] as string | undefined,
        answer: (token) =>
          void response.writeHead(200, token === undefined ? {} : { 'plimsoll-seen': token }).end('{}'),
      });
    });
    return { client, requests };
  };

  test('the token of an answer takes the place of what was sent', async () => {
    const { client, requests } = await holding();
    for (const [index, token] of ['a', 'b', undefined, 'c'].entries()) {
      const call = client.call(shapes.see, {});
      await expect.poll(() => requests.length).toBe(index + 1);
      requests[index]?.answer(token);
      await call;
    }
    expect(requests.map(({ sent }) => sent)).toEqual(['', 'a', 'b', 'b']);
  });

  test('answers at the same time lose nothing, in whatever order they come', async () => {
    const { client, requests } = await holding();
    const write = client.call(shapes.keep, { id: '1' });
    await expect.poll(() => requests.length).toBe(1);
    const read = client.call(shapes.see, {});
    await expect.poll(() => requests.length).toBe(2);
    requests[0]?.answer('written');
    await write;
    requests[1]?.answer('older');
    await read;
    const next = client.call(shapes.see, {});
    await expect.poll(() => requests.length).toBe(3);
    requests[2]?.answer('both');
    await next;
    const last = client.call(shapes.see, {});
    await expect.poll(() => requests.length).toBe(4);
    requests[3]?.answer();
    await last;
    expect(requests.map(({ sent }) => sent)).toEqual(['', '', 'written, older', 'both']);
  });

  test('a failure has one too', async () => {
    const sent: unknown[] = [];
    const client = await against(({ headers }, response) => {
      sent.push(headers['plimsoll-seen']);
      response.writeHead(503, { 'plimsoll-seen': 'unknown' }).end();
    });
    for (let round = 0; round < 2; round += 1) await client.call(shapes.see, {}).catch(() => undefined);
    expect(sent).toEqual(['', 'unknown']);
  });

  test('nothing is sent where the options say so', async () => {
    const sent: unknown[] = [];
    const { url } = (
      await start((_operation, input) => {
        currentContext()?.seen.noteWritten('db', '1.a', 7n);
        return Promise.resolve(input);
      })
    ).gateway;
    const client = createClient({
      baseUrl: url,
      routes: all,
      seen: false,
      fetch: (given, init) => {
        sent.push(new Headers(init.headers).get('plimsoll-seen'));
        return fetch(given, init);
      },
    }) as Client;
    await client.call(shapes.see, {});
    await client.call(shapes.see, {});
    expect(sent).toEqual([null, null]);
  });
});

test('a path in the base URL stays, and headers and fetch can be given', async () => {
  const seen: [string, RequestInit][] = [];
  const client = createClient({
    baseUrl: 'https://shop.example/api/',
    routes: all,
    headers: { authorization: 'Bearer t' },
    fetch: (url, init) => {
      seen.push([url, init]);
      return Promise.resolve(new Response('{}'));
    },
  });
  await client.call(shapes.see, { a: '1' });
  expect(seen[0]?.[0]).toBe('https://shop.example/api/see?a=1');
  expect(seen[0]?.[1].headers).toMatchObject({ authorization: 'Bearer t' });
  expect(() => createClient({ baseUrl: 'shop.example', routes: all })).toThrow(/baseUrl: is "shop.example"/);
});
