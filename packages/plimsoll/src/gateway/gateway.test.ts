import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { httpRequests, type HttpRequestMessage } from '../kernel/channels.ts';
import { currentContext, type RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { createRetry } from '../retry/retry.ts';
import { command, contract, query, type AnyOperation } from '../modules/contract.ts';
import { stress } from '../testing/stress.ts';
import { createGateway, type Gateway } from './gateway.ts';
import type { GatewayOptions } from './options.ts';
import type { ProblemDetails } from './problem.ts';
import { route } from './route.ts';

const anything = z.unknown();
// #region routes
const orders = contract('orders', {
  place: command({
    input: z.object({ sku: z.string() }),
    output: z.object({ id: z.string() }),
    errors: { OutOfStock: z.object({ left: z.number() }) },
  }),
  cancel: command({ input: z.object({ id: z.string() }) }),
  byId: query({ input: z.object({ id: z.string() }), output: z.object({ id: z.string() }).nullable() }),
});
const routes = [
  route('/orders', orders.place, { status: 201, errors: { OutOfStock: 409 } }),
  route('/orders/:id/cancel', orders.cancel),
  route('/orders/:id', orders.byId),
];
// #endregion
const shapes = contract('shapes', {
  echo: query({ input: anything, output: anything }),
  keep: command({ input: anything, output: anything }),
  declared: command({ input: anything, errors: { Refused: anything } }),
});
const shapeRoutes = [
  route('/echo', shapes.echo),
  route('/echo/:id', shapes.echo),
  route('/keep', shapes.keep),
  route('/keep/:id', shapes.keep),
  route('/declared', shapes.declared),
];

type Call = GatewayOptions['call'];
const running: Gateway[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(running.splice(0).map((gateway) => gateway.stop()));
});

function create(call: Call, options: Partial<GatewayOptions> = {}): Gateway {
  const gateway = createGateway({
    scope: {},
    port: 0,
    routes: [...routes, ...shapeRoutes],
    call,
    ready: () => Promise.resolve(),
    ...options,
  });
  running.push(gateway);
  return gateway;
}

async function start(call: Call, options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  const gateway = create(call, options);
  await gateway.start();
  return gateway;
}

const echo: Call = (_operation, input) => Promise.resolve(input);

function post(url: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

/** The problem of an answer, after checking what holds for each. */
async function problemIn(response: Response): Promise<ProblemDetails> {
  expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  const problem = (await response.json()) as ProblemDetails;
  expect(problem.status).toBe(response.status);
  expect(problem.correlationId).not.toBe('');
  expect(problem.correlationId).toBe(response.headers.get('x-correlation-id'));
  return problem;
}

/** A connection that says exactly what it is told. */
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

/** A handler that ends when told to, and the contexts it was called with. */
function gate(): { call: Call; open: () => void; entered: RequestContext[] } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const entered: RequestContext[] = [];
  return {
    entered,
    open: resolve,
    async call() {
      const context = currentContext();
      if (context !== undefined) entered.push(context);
      await promise;
      return { id: 'late' };
    },
  };
}

function getOver(
  agent: Agent,
  url: string,
): Promise<{ status: number; body: string; headers: IncomingMessage['headers'] }> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(url, { agent }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body, headers: response.headers }),
      );
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

describe('routes', () => {
  test('a query is GET, a command is POST, and nothing else answers', async () => {
    const gateway = await start(echo);
    expect((await fetch(`${gateway.url}/echo?a=1`)).status).toBe(200);
    expect((await post(`${gateway.url}/keep`, {})).status).toBe(200);
    for (const [method, path] of [
      ['POST', '/echo'],
      ['GET', '/keep'],
      ['DELETE', '/keep'],
      ['PUT', '/keep'],
      ['PATCH', '/keep/7?a=1'],
      ['POST', '/healthz'],
    ] as const) {
      const allowed = path.startsWith('/keep') ? 'POST, OPTIONS' : 'GET, HEAD, OPTIONS';
      const response = await fetch(`${gateway.url}${path}`, { method });
      expect(response.headers.get('allow')).toBe(allowed);
      expect(await problemIn(response)).toMatchObject({
        status: 405,
        code: 'PL_METHOD_NOT_ALLOWED',
        detail: `${method} ${path}: allowed are ${allowed}`,
      });
    }
    for (const method of ['GET', 'POST', 'DELETE']) {
      const response = await fetch(`${gateway.url}/nowhere`, { method });
      expect(response.headers.get('allow')).toBeNull();
      expect(await problemIn(response)).toMatchObject({
        status: 404,
        code: 'PL_NOT_FOUND',
        detail: `${method} /nowhere: no such route`,
      });
    }
  });

  test('OPTIONS tells the methods of a path, HEAD is a GET without its body', async () => {
    const gateway = await start(echo);
    const options = await fetch(`${gateway.url}/keep/7`, { method: 'OPTIONS' });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'POST, OPTIONS']);
    expect((await fetch(`${gateway.url}/nowhere`, { method: 'OPTIONS' })).status).toBe(404);
    const head = await fetch(`${gateway.url}/echo?a=1`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
    expect(head.headers.get('content-length')).toBe(String('{"a":"1"}'.length));
  });

  test('the input is the query string or the body, and path parameters, which win', async () => {
    const gateway = await start(echo);
    const inputOf = async (response: Promise<Response>): Promise<unknown> => (await response).json();
    expect(await inputOf(fetch(`${gateway.url}/echo`))).toEqual({});
    expect(await inputOf(fetch(`${gateway.url}/echo?a=1&b=x%20y&a=2`))).toEqual({ a: ['1', '2'], b: 'x y' });
    expect(await inputOf(fetch(`${gateway.url}/echo/7?id=8&c=d`))).toEqual({ id: '7', c: 'd' });
    expect(await inputOf(fetch(`${gateway.url}/echo/a%2Fb%3F`))).toEqual({ id: 'a/b?' });
    expect(await inputOf(post(`${gateway.url}/keep/7`, { id: 8, c: 'd' }))).toEqual({ id: '7', c: 'd' });
    expect(await inputOf(post(`${gateway.url}/keep/7`, null))).toEqual({ id: '7' });
    expect(await inputOf(post(`${gateway.url}/keep/7`, [1]))).toEqual([1]);
    expect(await inputOf(post(`${gateway.url}/keep`, [1, 2]))).toEqual([1, 2]);
    expect(await inputOf(fetch(`${gateway.url}/keep`, { method: 'POST' }))).toEqual({});
    expect(await inputOf(fetch(`${gateway.url}/keep/7`, { method: 'POST' }))).toEqual({ id: '7' });
  });

  test('success: 200 with output, 204 without, or what the route says', async () => {
    const answers = new Map<AnyOperation, unknown>([
      [orders.place, { ok: true, value: { id: 'o1' } }],
      [orders.cancel, undefined],
      [orders.byId, { id: 'o1' }],
      [shapes.declared, { ok: true, value: undefined }],
    ]);
    const gateway = await start((operation) => Promise.resolve(answers.get(operation)));
    const placed = await post(`${gateway.url}/orders`, { sku: 'a' });
    expect(placed.status).toBe(201);
    expect(placed.headers.get('content-type')).toMatch(/^application\/json/);
    expect(await placed.json()).toEqual({ id: 'o1' });
    const cancelled = await post(`${gateway.url}/orders/o1/cancel`, {});
    expect([cancelled.status, await cancelled.text()]).toEqual([204, '']);
    expect((await fetch(`${gateway.url}/orders/o1`)).status).toBe(200);
    expect((await post(`${gateway.url}/declared`, {})).status).toBe(204);
  });

  test.each([[null], ['text'], [''], [0], [false], [[1, 'two']], [{ buffer: 'not one', pipe: 'neither' }]])(
    'the output %j arrives as JSON',
    async (output) => {
      const gateway = await start(() => Promise.resolve(output));
      const response = await fetch(`${gateway.url}/echo`);
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toMatch(/^application\/json/);
      expect(await response.json()).toEqual(output);
    },
  );

  test('a declared error is a problem with its own status, name and data; 422 unless the route says', async () => {
    const gateway = await start((operation) =>
      Promise.resolve({
        ok: false,
        error: operation === orders.place ? 'OutOfStock' : 'Refused',
        data: { left: 2 },
      }),
    );
    expect(await problemIn(await post(`${gateway.url}/orders`, { sku: 'a' }))).toMatchObject({
      status: 409,
      code: 'OutOfStock',
      type: 'urn:plimsoll:operation:orders.place:OutOfStock',
      data: { left: 2 },
    });
    expect(await problemIn(await post(`${gateway.url}/declared`, {}))).toMatchObject({
      status: 422,
      code: 'Refused',
    });
  });
});

describe('requests that cannot be read', () => {
  test.each([
    ['JSON that is none', '{"a":', 400, 'PL_BAD_REQUEST'],
    ['an empty JSON body', '', 400, 'PL_BAD_REQUEST'],
    ['`__proto__` in JSON', '{"__proto__": {"admin": true}}', 400, 'PL_BAD_REQUEST'],
    [
      '`constructor.prototype` in JSON',
      '{"constructor": {"prototype": {"admin": true}}}',
      400,
      'PL_BAD_REQUEST',
    ],
    ['a body over the limit', JSON.stringify('x'.repeat(200)), 413, 'PL_BODY_TOO_LARGE'],
  ])('%s is refused', async (_what, body, status, code) => {
    let called = 0;
    const gateway = await start(() => Promise.resolve((called += 1)), { maxBodyBytes: 100 });
    expect(await problemIn(await post(`${gateway.url}/keep`, body))).toMatchObject({ status, code });
    expect(called).toBe(0);
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
    expect((await post(`${gateway.url}/keep`, {})).status).toBe(200);
  });

  test('a body over the limit that does not tell its length is refused while it arrives', async () => {
    const gateway = await start(echo, { maxBodyBytes: 100 });
    const { socket, heard } = await dial(gateway);
    socket.write(
      'POST /keep HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n',
    );
    for (let chunk = 0; chunk < 3; chunk += 1) socket.write(`32\r\n${'x'.repeat(50)}\r\n`);
    await expect.poll(heard).toMatch(/^HTTP\/1\.1 413 .*PL_BODY_TOO_LARGE/s);
  });

  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/xml',
  ])('a body of type %s is refused', async (type) => {
    const gateway = await start(echo);
    const response = await post(`${gateway.url}/keep`, 'a=1', { 'content-type': type });
    expect(await problemIn(response)).toMatchObject({ status: 415, code: 'PL_UNSUPPORTED_MEDIA' });
  });

  test('a path that cannot be decoded, and one that is too long, are client errors like any other', async () => {
    const gateway = await start(echo);
    expect(await problemIn(await fetch(`${gateway.url}/echo/%zz`))).toMatchObject({
      status: 400,
      code: 'PL_BAD_REQUEST',
    });
    const long = await problemIn(await fetch(`${gateway.url}/echo/${'x'.repeat(600)}`));
    expect(long.status).toBeGreaterThanOrEqual(400);
    expect(long.status).toBeLessThan(500);
    await expect.poll(() => gateway.inFlight).toBe(0);
  });

  test('what is no HTTP ends with a refusal and the gateway lives on', async () => {
    const gateway = await start(echo);
    const { socket, heard, ended } = await dial(gateway);
    socket.write('NONSENSE\r\n\r\n');
    await ended;
    expect(heard()).toMatch(/^HTTP\/1\.1 400 /);
    expect((await fetch(`${gateway.url}/echo`)).status).toBe(200);
  });
});

describe('failures', () => {
  const secret = 'relation "card_number" does not exist at 10.0.0.7';
  const pgLike = Object.assign(new Error(secret), { code: '42P01', detail: secret, table: 'card_number' });

  test.each<[string, unknown, number, string]>([
    ['an error of pg', pgLike, 500, 'INTERNAL'],
    [
      'an error with an HTTP status of its own',
      Object.assign(new Error(secret), { statusCode: 404 }),
      500,
      'INTERNAL',
    ],
    ['an error that says 503', Object.assign(new Error(secret), { statusCode: 503 }), 500, 'INTERNAL'],
    ['an error with an odd code', Object.assign(new Error(secret), { code: 'toString' }), 500, 'INTERNAL'],
    ['thrown text', secret, 500, 'INTERNAL'],
    ['nothing', undefined, 500, 'INTERNAL'],
    [
      'a server error of ours',
      new PlimsollError('PL_ROW_COUNT', secret, { data: { secret } }),
      500,
      'PL_ROW_COUNT',
    ],
    [
      'an unreachable database',
      new PlimsollError('PL_DATABASE_UNAVAILABLE', secret, { cause: pgLike }),
      503,
      'PL_DATABASE_UNAVAILABLE',
    ],
  ])('%s leaks nothing of it', async (_what, thrown, status, code) => {
    // oxlint-disable-next-line typescript/only-throw-error -- handlers may throw anything
    const gateway = await start(async () => Promise.reject(thrown));
    const response = await fetch(`${gateway.url}/echo`);
    const text = await response.clone().text();
    expect(await problemIn(response)).toMatchObject({ status, code });
    expect(text).not.toMatch(/card_number|10\.0\.0\.7|42P01|stack/);
    await expect.poll(() => gateway.inFlight).toBe(0);
  });

  test('a client error is explained with its facts', async () => {
    const gateway = await start(() =>
      Promise.reject(new PlimsollError('PL_INPUT_INVALID', 'sku: too short', { data: { path: 'sku' } })),
    );
    expect(await problemIn(await fetch(`${gateway.url}/echo`))).toMatchObject({
      status: 400,
      code: 'PL_INPUT_INVALID',
      type: 'urn:plimsoll:error:PL_INPUT_INVALID',
      detail: 'sku: too short',
      data: { path: 'sku' },
    });
  });

  test.each([
    ['PL_POOL_TIMEOUT', 503, {}, /^[123]$/],
    ['PL_DATABASE_UNAVAILABLE', 503, {}, /^[123]$/],
    ['PL_BREAKER_OPEN', 503, { retryAfterMs: 7_200 }, /^8$/],
    ['PL_RATE_LIMITED', 429, { retryAfterMs: 10 }, /^1$/],
    // 503 too, but the same request again might do the work twice.
    ['PL_COMMIT_UNKNOWN', 503, {}, /^none$/],
  ] as const)(
    '%s: %i with Retry-After as the refusal says, else at random',
    async (code, status, data, retryAfter) => {
      const gateway = await start(() => Promise.reject(new PlimsollError(code, 'no', { data })));
      const response = await fetch(`${gateway.url}/echo`);
      expect(response.status).toBe(status);
      expect(response.headers.get('retry-after') ?? 'none').toMatch(retryAfter);
    },
  );

  test('those who are refused together are not told to come back together', async () => {
    const gateway = await start(() => Promise.reject(new PlimsollError('PL_OVERLOADED', 'no')));
    const told = new Set<string | null>();
    for (let refused = 0; refused < 60; refused += 1)
      told.add((await fetch(`${gateway.url}/echo`)).headers.get('retry-after'));
    expect(told).toEqual(new Set(['1', '2', '3']));
  });
});

describe('the context of a request', () => {
  async function contextOf(
    headers: Readonly<Record<string, string>>,
  ): Promise<{ readonly context: RequestContext; readonly answered: Response }> {
    let context: RequestContext | undefined;
    const gateway = await start(
      (_operation, input) => {
        context = currentContext();
        return Promise.resolve(input);
      },
      { requestTimeoutMs: 5_000 },
    );
    const answered = await post(`${gateway.url}/keep`, {}, headers);
    return { context: context!, answered };
  }

  test('has the correlation id and the idempotency key that were sent', async () => {
    const { context, answered } = await contextOf({
      'x-correlation-id': 'trace-1.a:b_c',
      'idempotency-key': 'pay 7/é'.replace('é', 'e'),
    });
    expect(context).toMatchObject({ correlationId: 'trace-1.a:b_c', key: 'pay 7/e', caller: {} });
    expect(answered.headers.get('x-correlation-id')).toBe('trace-1.a:b_c');
    expect(context.signal?.aborted).toBe(false);
    const leftMs = context.deadlineAtMs - performance.now();
    expect(leftMs).toBeLessThanOrEqual(5_000);
  });

  test.each([
    ['250', 250],
    ['999999', 5_000],
    ['0', 5_000],
    ['-1', 5_000],
    ['soon', 5_000],
  ])('x-request-timeout-ms %s leaves %i ms', async (header, leftMs) => {
    const before = performance.now();
    const { context } = await contextOf({ 'x-request-timeout-ms': header });
    expect(context.deadlineAtMs - before).toBeGreaterThanOrEqual(leftMs);
    expect(context.deadlineAtMs - performance.now()).toBeLessThanOrEqual(leftMs);
  });

  test('a retry inside a request that its caller makes again does not multiply', async () => {
    let calls = 0;
    const retry = createRetry({ name: 'inner', safe: true, attempts: 3, baseMs: 0, maxMs: 0 });
    const gateway = await start(() =>
      retry.run(() => {
        calls += 1;
        return Promise.reject(new PlimsollError('PL_POOL_TIMEOUT', 'no'));
      }),
    );
    await fetch(`${gateway.url}/echo`, { headers: { 'plimsoll-attempt': '1' } });
    expect(calls).toBe(1);
    await fetch(`${gateway.url}/echo`);
    expect(calls).toBe(4);
  });

  test.each(['', 'x'.repeat(129), 'a b', 'a"b', '<script>', "'; drop table", '\u00e9'])(
    'the hostile correlation id %j is replaced',
    async (hostile) => {
      const { context, answered } = await contextOf({ 'x-correlation-id': hostile });
      expect(context.correlationId).toMatch(/^[\da-f-]{36}$/);
      expect(answered.headers.get('x-correlation-id')).toBe(context.correlationId);
    },
  );

  test('without an idempotency key each request has a key of its own, whatever its correlation id', async () => {
    const keys = new Set<string>();
    for (let request = 0; request < 2; request += 1)
      keys.add((await contextOf({ 'x-correlation-id': 'one-page-view' })).context.key);
    expect(keys.size).toBe(2);
    for (const key of keys) expect(key).not.toBe('');
  });

  test.each([
    ['an empty one', ''],
    ['one too long', 'x'.repeat(256)],
    ['a string that does not end', '"k'],
  ])(
    'a command with %s as idempotency key is refused, and a query does not look at it',
    async (_what, key) => {
      const gateway = await start((_operation, input) => Promise.resolve(input));
      const answered = await post(`${gateway.url}/keep`, {}, { 'idempotency-key': key });
      expect([answered.status, await answered.json()]).toMatchObject([400, { code: 'PL_IDEMPOTENCY_KEY' }]);
      expect((await fetch(`${gateway.url}/echo`, { headers: { 'idempotency-key': key } })).status).toBe(200);
    },
  );

  test('its signal aborts when the client goes away, and not before', async () => {
    const { call, entered, open } = gate();
    const gateway = await start(call);
    const { socket } = await dial(gateway);
    socket.write('GET /echo HTTP/1.1\r\nhost: x\r\n\r\n');
    await expect.poll(() => entered.length).toBe(1);
    expect(entered[0]?.signal?.aborted).toBe(false);
    socket.destroy();
    await expect.poll(() => entered[0]?.signal?.aborted).toBe(true);
    expect(entered[0]?.signal?.reason).toMatchObject({ code: 'PL_ABORTED' });
    open();
    await expect.poll(() => gateway.inFlight).toBe(0);
  });
});

describe('limits', () => {
  test('over the limit requests are refused with Retry-After while the others finish', async () => {
    const { call, entered, open } = gate();
    const gateway = await start(call, { maxInFlight: 3 });
    const accepted = Array.from({ length: 3 }, () => fetch(`${gateway.url}/echo`));
    await expect.poll(() => entered.length).toBe(3);
    for (let refused = 0; refused < 5; refused += 1) {
      const response = await fetch(`${gateway.url}/echo`);
      expect(response.headers.get('retry-after')).toMatch(/^[123]$/);
      expect(await problemIn(response)).toMatchObject({ status: 503, code: 'PL_OVERLOADED' });
    }
    // What watches the process is not counted and not refused.
    expect((await fetch(`${gateway.url}/healthz`)).status).toBe(200);
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
    expect(gateway.inFlight).toBe(3);
    open();
    for (const response of await Promise.all(accepted)) expect(response.status).toBe(200);
    await expect.poll(() => gateway.inFlight).toBe(0);
    expect((await fetch(`${gateway.url}/echo`)).status).toBe(200);
  });

  test('the count returns to 0 after clients that leave at any point of their request', async () => {
    const { call, entered } = gate();
    const gateway = await start(call);
    const half = [
      'POST /ke',
      'POST /keep HTTP/1.1\r\nhost: x\r\n',
      'POST /keep HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n',
      'POST /keep HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"a":',
    ];
    const whole =
      'POST /keep HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}';
    const clients = await Promise.all(
      [...half, whole, whole].map(async (text) => {
        const client = await dial(gateway);
        client.socket.write(text);
        return client;
      }),
    );
    await expect.poll(() => entered.length).toBe(2);
    await expect.poll(() => gateway.inFlight).toBe(4);
    for (const { socket } of clients) socket.destroy();
    await expect.poll(() => gateway.inFlight).toBe(0);
    for (const context of entered) expect(context.signal?.aborted).toBe(true);
  });

  test('a handler that hangs is answered with 504 at the time limit', async () => {
    const { call, entered } = gate();
    const gateway = await start(call, { requestTimeoutMs: 50 });
    expect(await problemIn(await fetch(`${gateway.url}/echo`))).toMatchObject({
      status: 504,
      code: 'PL_DEADLINE',
    });
    expect(entered).toHaveLength(1);
    await expect.poll(() => gateway.inFlight).toBe(0);
  });

  test('a body that comes too slowly is cut', async () => {
    let called = 0;
    const gateway = await start(() => Promise.resolve((called += 1)), { requestTimeoutMs: 100 });
    const { socket, heard, ended } = await dial(gateway);
    socket.write(
      'POST /keep HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{',
    );
    await ended;
    expect(heard()).toMatch(/^HTTP\/1\.1 408 /);
    expect(called).toBe(0);
    await expect.poll(() => gateway.inFlight).toBe(0);
  });
});

describe('start, drain and stop', () => {
  test('a drain finishes what is under way, refuses new work, and ends', async () => {
    const { call, entered, open } = gate();
    const gateway = await start(call, { drainMs: 60_000 });
    const { url } = gateway;
    const agent = new Agent({ keepAlive: true });
    const underWay = getOver(agent, `${url}/echo`);
    await expect.poll(() => entered.length).toBe(1);
    // A request whose headers have begun before the drain and end during it.
    const late = await dial(gateway);
    late.socket.write('GET /echo HTTP/1.1\r\nhost: x\r\nx-correlation-id: late-1\r\n');
    const lateReady = await dial(gateway);
    lateReady.socket.write('GET /readyz HTTP/1.1\r\nhost: x\r\n');
    // Both have been read when a request that came after them is answered.
    await fetch(`${url}/healthz`);

    const draining = gateway.drain();
    await expect.poll(() => gateway.state).toBe('draining');
    await expect
      .poll(() =>
        fetch(`${url}/echo`).then(
          () => 'answered',
          () => 'refused',
        ),
      )
      .toBe('refused');
    late.socket.write('\r\n');
    lateReady.socket.write('\r\n');
    await Promise.all([late.ended, lateReady.ended]);
    expect(late.heard()).toMatch(/^HTTP\/1\.1 503 /);
    expect(late.heard()).toMatch(
      /content-type: application\/problem\+json.*x-correlation-id: late-1|x-correlation-id: late-1.*application\/problem\+json/is,
    );
    expect(late.heard()).toMatch(/"code":"PL_DRAINING".*"correlationId":"late-1"/);
    expect(lateReady.heard()).toMatch(/^HTTP\/1\.1 503 .*"code":"PL_DRAINING"/s);
    expect(entered).toHaveLength(1);

    open();
    expect(await underWay).toMatchObject({ status: 200, body: '{"id":"late"}' });
    // Ends because nothing is under way any more, long before `drainMs`, though the client keeps its connection.
    await draining;
    await gateway.stop();
    expect(gateway.state).toBe('stopped');
    expect(gateway.inFlight).toBe(0);
    agent.destroy();
  });

  test('a drain gives up after its limit, and the stop cuts what is left', async () => {
    const { call, entered } = gate();
    const gateway = await start(call, { drainMs: 30 });
    const { socket, ended } = await dial(gateway);
    socket.write('GET /echo HTTP/1.1\r\nhost: x\r\n\r\n');
    await expect.poll(() => entered.length).toBe(1);
    await gateway.stop();
    await ended;
    await expect.poll(() => gateway.inFlight).toBe(0);
    expect(entered[0]?.signal?.aborted).toBe(true);
  });

  test('idle keep-alive connections do not hold up a stop', async () => {
    const gateway = await start(echo, { drainMs: 60_000 });
    const agent = new Agent({ keepAlive: true });
    expect((await getOver(agent, `${gateway.url}/echo?a=1`)).status).toBe(200);
    expect(Object.keys(agent.freeSockets)).toHaveLength(1);
    const silent = await dial(gateway);
    await fetch(`${gateway.url}/healthz`);
    await gateway.stop();
    await silent.ended;
    agent.destroy();
  });

  test('a port that is taken is explained; when it is free again the same gateway starts', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    const gateway = create(echo, { port });
    await expect(gateway.start()).rejects.toMatchObject({
      code: 'PL_LIFECYCLE',
      message: expect.stringContaining(`port ${port} of 127.0.0.1 is taken by another program`) as string,
      cause: { code: 'EADDRINUSE' },
    });
    expect(gateway.state).toBe('stopped');
    await new Promise((resolve) => other.close(resolve));
    await gateway.start();
    expect((await fetch(`http://127.0.0.1:${port}/echo`)).status).toBe(200);
  });

  test('it has a URL only while it listens', async () => {
    const gateway = create(echo);
    expect(() => gateway.url).toThrow(expect.objectContaining({ code: 'PL_LIFECYCLE' }));
    await gateway.start();
    expect(gateway.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    await gateway.stop();
    expect(() => gateway.url).toThrow(expect.objectContaining({ code: 'PL_LIFECYCLE' }));
  });

  test('it survives stress and answers afterwards', async () => {
    const gateway = create(echo);
    await stress(gateway);
    await gateway.start();
    expect(await (await fetch(`${gateway.url}/echo?a=1`)).json()).toEqual({ a: '1' });
  });

  test('two gateways in one process do not count for each other', async () => {
    const { call, entered, open } = gate();
    const [one, two] = [await start(call, { maxInFlight: 1 }), await start(echo, { maxInFlight: 1 })];
    const waiting = fetch(`${one.url}/echo`);
    await expect.poll(() => entered.length).toBe(1);
    expect((await fetch(`${two.url}/echo`)).status).toBe(200);
    open();
    expect((await waiting).status).toBe(200);
  });

  test('what the page shows', async () => {
    const call: Call = () => Promise.resolve({ ok: true, value: { id: 'o1' } });
    // #region gateway
    const gateway = createGateway({
      scope: {},
      routes,
      call,
      ready: () => Promise.resolve(),
      port: 0,
      maxInFlight: 200,
    });
    await gateway.start();
    const response = await fetch(`${gateway.url}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': 'basket-7' },
      body: JSON.stringify({ sku: 'tea' }),
    });
    await gateway.stop();
    // #endregion
    expect(response.status).toBe(201);
  });
});

describe('what watches the process', () => {
  test('/healthz says that it lives, /readyz that it can serve', async () => {
    let ready = true;
    const gateway = await start(echo, {
      ready: () =>
        ready
          ? Promise.resolve()
          : Promise.reject(new PlimsollError('PL_DATABASE_UNAVAILABLE', 'host 10.0.0.7')),
    });
    expect(await (await fetch(`${gateway.url}/healthz`)).json()).toEqual({ status: 'ok' });
    expect(await (await fetch(`${gateway.url}/readyz`)).json()).toEqual({ status: 'ready' });
    ready = false;
    expect((await fetch(`${gateway.url}/healthz`)).status).toBe(200);
    const problem = await problemIn(await fetch(`${gateway.url}/readyz`));
    expect(problem).toMatchObject({ status: 503, code: 'PL_DATABASE_UNAVAILABLE' });
    expect(JSON.stringify(problem)).not.toContain('10.0.0.7');
  });

  test('/-/telemetry answers loopback only, and hides from whoever comes through a proxy', async () => {
    const asked: number[] = [];
    const telemetry = (lastMs: number): Promise<unknown> => {
      asked.push(lastMs);
      return Promise.resolve({ lastMs });
    };
    const gateway = await start(echo, { telemetry });
    expect(await (await fetch(`${gateway.url}/-/telemetry`)).json()).toEqual({ lastMs: 10_000 });
    expect(await (await fetch(`${gateway.url}/-/telemetry?lastMs=500`)).json()).toEqual({ lastMs: 500 });
    for (const nonsense of ['abc', '-5', '', 'Infinity'])
      expect(await (await fetch(`${gateway.url}/-/telemetry?lastMs=${nonsense}`)).json()).toEqual({
        lastMs: 10_000,
      });
    asked.length = 0;
    for (const headers of [
      { 'x-forwarded-for': '127.0.0.1' },
      { 'x-forwarded-for': '' },
      { forwarded: 'for=203.0.113.9' },
    ])
      expect(await problemIn(await fetch(`${gateway.url}/-/telemetry`, { headers }))).toMatchObject({
        status: 404,
        code: 'PL_NOT_FOUND',
      });
    expect(asked).toEqual([]);
    const without = await start(echo);
    expect((await fetch(`${without.url}/-/telemetry`)).status).toBe(404);
  });
});

test('the channel tells each request once: pattern, status, operation, correlation id, never the raw path', async () => {
  const scope = {};
  const seen: HttpRequestMessage[] = [];
  const unsubscribe = httpRequests.subscribe((message) => message.scope === scope && seen.push(message));
  const failure = new Error('boom');
  try {
    const { call, entered } = gate();
    const gateway = await start(
      (operation, input) =>
        operation === shapes.keep
          ? Promise.reject(failure)
          : operation === orders.byId
            ? call(operation, input)
            : echo(operation, input),
      { scope },
    );
    await fetch(`${gateway.url}/echo/secret-id`, { headers: { 'x-correlation-id': 'c-1' } });
    await post(`${gateway.url}/keep`, {});
    await fetch(`${gateway.url}/nowhere/secret-id`);
    const { socket } = await dial(gateway);
    socket.write('GET /orders/7 HTTP/1.1\r\nhost: x\r\n\r\n');
    await expect.poll(() => entered.length).toBe(1);
    socket.destroy();
    await expect.poll(() => seen.length).toBe(4);
  } finally {
    unsubscribe();
  }
  expect(seen).toMatchObject([
    { method: 'GET', route: '/echo/:id', status: 200, operation: 'shapes.echo', correlationId: 'c-1' },
    { method: 'POST', route: '/keep', status: 500, operation: 'shapes.keep', error: failure },
    { method: 'GET', route: '(unmatched)', status: 404, operation: undefined },
    { method: 'GET', route: '/orders/:id', status: 499, operation: 'orders.byId' },
  ]);
  expect(seen.map(({ route: pattern }) => pattern).join()).not.toContain('secret');
});
