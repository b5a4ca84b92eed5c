import type { IncomingMessage } from 'node:http';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { isPlimsollError, type PlimsollError } from '../kernel/errors.ts';
import { runInAttempt } from '../kernel/attempt.ts';
import { createPolicy } from '../policy/index.ts';
import { createTelemetry } from '../telemetry/index.ts';
import { closedOrigin, serve, serveRaw } from './fixtures/servers.ts';
import { createHttpClient, type HttpClient, type HttpClientOptions } from './index.ts';

const clients: HttpClient[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
});

/** Waits of retries are told, not made. */
const slept: number[] = [];
const clock: Clock = { ...systemClock, sleep: async (ms) => void slept.push(ms) };
afterEach(() => void slept.splice(0));

function clientOf(origin: string, options: Partial<HttpClientOptions> = {}): HttpClient {
  const { policy } = options;
  const client = createHttpClient({
    name: 'bank',
    origin,
    clock,
    ...options,
    policy: policy !== undefined && 'run' in policy ? policy : { random: () => 0, ...policy },
  });
  clients.push(client);
  return client;
}

async function failed(call: Promise<unknown>): Promise<PlimsollError> {
  const error = await call.then(
    (value) => value,
    (reason: unknown) => reason,
  );
  if (!isPlimsollError(error)) throw new Error('it did not fail with an error of ours', { cause: error });
  return error;
}

const until = (holds: () => boolean): Promise<void> => vi.waitFor(() => expect(holds()).toBe(true));

describe('answers', () => {
  test('2xx, 3xx and 4xx are values, and no redirect is followed', async () => {
    const asked: string[] = [];
    await using server = await serve((request, response) => {
      asked.push(request.url ?? '');
      const status = Number(request.url?.slice(1));
      response.writeHead(status, { location: '/200', 'content-type': 'application/json' });
      response.end(status === 204 ? undefined : '{"é":1}');
    });
    const client = clientOf(server.origin);
    for (const status of [200, 201, 302, 307, 400, 404, 409, 422]) {
      const answer = await client.request('GET', `/${status}`);
      expect([answer.status, answer.json(), answer.text()]).toEqual([status, { é: 1 }, '{"é":1}']);
      expect(answer.headers['content-type']).toBe('application/json');
      expect(answer.bytes().length).toBe(8);
    }
    expect((await client.request('GET', '/204')).json()).toBeUndefined();
    expect(asked).toHaveLength(9);
  });

  test('4xx never counts for the breaker, 5xx does, 408 and 429 do not', async () => {
    let status = 404;
    await using server = await serve((_request, response) => response.writeHead(status).end());
    const client = clientOf(server.origin, {
      policy: { retry: false, breaker: { consecutiveFailures: 3 } },
    });
    for (let call = 0; call < 10; call += 1) await client.request('GET', '/nobody');
    for (status of [408, 429])
      for (let call = 0; call < 10; call += 1) await failed(client.request('GET', '/'));
    expect(client.policy.state().breaker).toMatchObject({ state: 'closed', failures: 0 });
    status = 500;
    for (let call = 0; call < 3; call += 1) await failed(client.request('GET', '/'));
    const refused = await failed(client.request('GET', '/'));
    expect(refused).toMatchObject({ code: 'PL_BREAKER_OPEN', data: { attempts: 0, sent: 'no' } });
  });

  test.each([408, 429, 503])('%i with Retry-After is asked again after that time', async (status) => {
    let asked = 0;
    await using server = await serve((_request, response) => {
      asked += 1;
      if (asked === 1) response.writeHead(status, { 'retry-after': '2' }).end('later');
      else response.end('"now"');
    });
    expect((await clientOf(server.origin).request('GET', '/')).json()).toBe('now');
    expect(slept).toEqual([2_000]);
  });

  test('what no retry overcame is PL_REMOTE_FAILED with status, headers and the beginning of the body', async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(503, { 'retry-after': '1', 'set-cookie': 'a=secret', 'x-reason': 'ill' });
      response.end('x'.repeat(5_000));
    });
    const error = await failed(
      clientOf(server.origin).request('GET', '/rates/:id?key=secret', { params: { id: 7 } }),
    );
    expect(error.code).toBe('PL_REMOTE_FAILED');
    expect(error.message).toBe(
      'bank: GET /rates/:id: asked 3 times, answered 503; it asks to be left alone for 1000 ms',
    );
    expect(error.data).toMatchObject({
      name: 'bank',
      method: 'GET',
      path: '/rates/:id',
      status: 503,
      attempts: 3,
      sent: 'yes',
      retryAfterMs: 1_000,
      headers: { 'x-reason': 'ill' },
    });
    expect(error.data['body']).toBe('x'.repeat(1_024));
    expect(JSON.stringify(error.data)).not.toContain('secret');
  });

  test('500 is not asked again', async () => {
    let asked = 0;
    await using server = await serve((_request, response) => {
      asked += 1;
      response.writeHead(500).end();
    });
    await failed(clientOf(server.origin).request('GET', '/'));
    expect(asked).toBe(1);
  });

  test.each(['with', 'without'])(
    'a body too large %s content-length is cut off, and no failure of the server',
    async (length) => {
      const closed = Promise.withResolvers<void>();
      await using server = await serve((_request, response) => {
        response.on('close', closed.resolve);
        if (length === 'with') response.setHeader('content-length', 1_000_000);
        response.write('x'.repeat(length === 'with' ? 10 : 2_000));
      });
      const client = clientOf(server.origin, { maxBodyBytes: 1_000 });
      const error = await failed(client.request('GET', '/'));
      expect(error.code).toBe('PL_REMOTE_FAILED');
      expect(error.message).toContain('larger than 1000 bytes');
      expect(error.data).toMatchObject({ status: 200, sent: 'yes', attempts: 1 });
      expect(client.policy.state().breaker).toMatchObject({ failures: 0 });
      await closed.promise;
    },
  );

  test('a body as large as allowed is whole', async () => {
    await using server = await serve((_request, response) => {
      response.write('x'.repeat(600));
      setImmediate(() => response.end('y'.repeat(400)));
    });
    const answer = await clientOf(server.origin, { maxBodyBytes: 1_000 }).request('GET', '/');
    expect(answer.text()).toBe('x'.repeat(600) + 'y'.repeat(400));
  });

  test('what is not JSON says what it is', async () => {
    await using server = await serve((_request, response) =>
      response.setHeader('content-type', 'text/html').end('<html>'),
    );
    const answer = await clientOf(server.origin).request('GET', '/');
    expect(() => answer.json()).toThrow(
      'bank: GET /: the answer with 200 is not JSON but text/html; is there a proxy in between?',
    );
  });
});

describe('no answer', () => {
  test('a refused connection is PL_NETWORK, and nothing was sent', async () => {
    const client = clientOf(await closedOrigin());
    const error = await failed(client.request('POST', '/charges', { json: { pence: 1 } }));
    expect(error.code).toBe('PL_NETWORK');
    expect(error.message).toBe(
      'bank: POST /charges: bank could not be reached, and nothing was sent (ECONNREFUSED)',
    );
    expect(error.data).toMatchObject({ sent: 'no', attempts: 1, networkCode: 'ECONNREFUSED' });
    expect((await failed(client.request('GET', '/'))).data).toMatchObject({ sent: 'no', attempts: 3 });
  });

  test('a reset before the headers: asked again only where that is safe', async () => {
    const asked: string[] = [];
    await using server = await serveRaw((socket, request) => {
      asked.push(request);
      socket.resetAndDestroy();
    });
    const client = clientOf(server.origin);
    const error = await failed(client.request('POST', '/charges', { json: 1 }));
    expect(error).toMatchObject({ code: 'PL_NETWORK', data: { sent: 'maybe', attempts: 1 } });
    expect(error.message).toContain('whether it was done is unknown');
    expect(asked).toHaveLength(1);
    await failed(client.request('POST', '/charges', { json: 1, idempotencyKey: 'k-1' }));
    expect(asked.slice(1).filter((request) => request.includes('idempotency-key: k-1'))).toHaveLength(3);
    const read = await failed(clientOf(server.origin).request('GET', '/'));
    expect(read.data).toMatchObject({ sent: 'maybe', attempts: 3 });
  });

  test('a reset after the headers: it was answered, and the answer is lost', async () => {
    await using server = await serveRaw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf', () => socket.resetAndDestroy());
    });
    const error = await failed(clientOf(server.origin).request('POST', '/charges'));
    expect(error).toMatchObject({ code: 'PL_NETWORK', data: { sent: 'yes', attempts: 1 } });
    expect(error.message).toContain('answered, and then the connection broke');
  });

  test('what one attempt sent, a later one that was refused does not take back', async () => {
    const server = await serveRaw((socket) => {
      socket.destroy();
      void server[Symbol.asyncDispose]();
    });
    const error = await failed(clientOf(server.origin).request('GET', '/'));
    expect(error).toMatchObject({
      code: 'PL_NETWORK',
      data: { sent: 'maybe', attempts: 3, networkCode: 'ECONNREFUSED' },
    });
  });

  test('what one attempt was answered, a later one that was not does not take back', async () => {
    let asked = 0;
    await using server = await serveRaw((socket) => {
      asked += 1;
      if (asked === 1) socket.write('HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n');
      else socket.destroy();
    });
    const error = await failed(clientOf(server.origin).request('GET', '/'));
    expect(error).toMatchObject({ code: 'PL_NETWORK', data: { sent: 'yes', attempts: 3 } });
  });

  test.each(['headers', 'body'])('%s that do not come end with the time of the attempt', async (slow) => {
    const closed = Promise.withResolvers<void>();
    await using server = await serve((_request, response) => {
      response.on('close', closed.resolve);
      if (slow === 'body') response.write('{');
    });
    const client = clientOf(server.origin, { policy: { retry: false, timeout: { ms: 50 } } });
    const error = await failed(client.request('POST', '/charges'));
    expect(error.code).toBe('PL_TIMEOUT');
    expect(error.message).toMatch(/^POST \/charges: bank did not answer within its 50 ms/);
    expect(error.data).toMatchObject({
      sent: slow === 'body' ? 'yes' : 'maybe',
      method: 'POST',
      attempts: 1,
    });
    await closed.promise;
    expect(client.policy.state().breaker).toMatchObject({ failures: 1 });
  });

  test('a hanging server gets a safe request again, on another connection', async () => {
    let asked = 0;
    await using server = await serve((_request, response) => {
      asked += 1;
      if (asked > 1) response.end('2');
    });
    const client = clientOf(server.origin, { policy: { timeout: { ms: 100 } } });
    expect((await client.request('GET', '/')).json()).toBe(2);
  });

  test('a hint before the answer is no answer', async () => {
    let asked = 0;
    await using server = await serveRaw((socket) => {
      asked += 1;
      const hint = 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n';
      if (asked === 1) socket.write(`${hint}HTTP/1.1 201 x\r\ncontent-length: 1\r\n\r\n1`);
      else socket.write(hint, () => socket.resetAndDestroy());
    });
    const client = clientOf(server.origin);
    expect((await client.request('POST', '/')).status).toBe(201);
    const error = await failed(client.request('POST', '/'));
    expect(error).toMatchObject({ code: 'PL_NETWORK', data: { sent: 'maybe' } });
  });

  test('a server without TLS, or one that does not end the handshake, was sent nothing', async () => {
    await using plain = await serve((_request, response) => response.end());
    const policy = { retry: false } as const;
    const wrong = await failed(
      clientOf(plain.origin.replace('http:', 'https:'), { policy }).request('POST', '/'),
    );
    expect(wrong).toMatchObject({ code: 'PL_NETWORK', data: { sent: 'no' } });
    await using silent = await serveRaw(() => undefined);
    const slow = clientOf(silent.origin.replace('http:', 'https:'), { policy, connectTimeoutMs: 50 });
    expect((await failed(slow.request('POST', '/'))).data).toMatchObject({
      sent: 'no',
      networkCode: 'UND_ERR_CONNECT_TIMEOUT',
    });
  });

  test('of a hedged pair the slower one is cancelled on the server', async () => {
    const closed = Promise.withResolvers<void>();
    let asked = 0;
    await using server = await serve((_request, response) => {
      asked += 1;
      if (asked === 1) response.on('close', closed.resolve);
      else response.end('2');
    });
    const client = clientOf(server.origin, { policy: { retry: { hedge: { delayMs: 10 } } } });
    expect((await client.request('GET', '/')).json()).toBe(2);
    await closed.promise;
    expect(client.policy.state()).toMatchObject({ retry: { hedges: 1 }, breaker: { failures: 0 } });
  });

  test('what is not HTTP is PL_NETWORK', async () => {
    await using server = await serveRaw((socket) => void socket.end('SSH-2.0\r\n'));
    const error = await failed(clientOf(server.origin).request('GET', '/'));
    expect(error).toMatchObject({ code: 'PL_NETWORK', data: { attempts: 1, sent: 'maybe' } });
  });
});

describe('connections that were kept', () => {
  const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1';

  test('closed by the server while a request is on its way: only what is safe is sent again', async () => {
    const methods: string[] = [];
    // The second request of a connection meets a server that has given it up.
    await using server = await serveRaw((socket, request, ofConnection) => {
      methods.push(request.slice(0, request.indexOf(' ')));
      if (ofConnection === 1) socket.write(ok);
      else socket.destroy();
    });
    const client = clientOf(server.origin, { maxConnections: 1 });
    await client.request('GET', '/');
    expect((await client.request('GET', '/')).json()).toBe(1);
    expect(methods.splice(0)).toEqual(['GET', 'GET', 'GET']);
    const error = await failed(client.request('POST', '/'));
    expect(error).toMatchObject({ code: 'PL_NETWORK', data: { sent: 'maybe', attempts: 1 } });
    expect(methods).toEqual(['POST']);
  });

  test('closed by the server before: the next request takes another one', async () => {
    await using server = await serveRaw((socket) => void socket.end(ok));
    const client = clientOf(server.origin, { maxConnections: 1 });
    for (let call = 0; call < 20; call += 1) {
      await client.request('POST', '/');
      await server.empty();
    }
    expect(client.policy.state().retry).toMatchObject({ calls: 20, retries: 0 });
  });

  test('they are used again, after failures too', async () => {
    const ports = new Set<number | undefined>();
    await using server = await serve((request, response) => {
      ports.add(request.socket.remotePort);
      response.writeHead(request.url === '/ill' ? 500 : 200).end('x'.repeat(100_000));
    });
    const client = clientOf(server.origin);
    for (let call = 0; call < 10; call += 1) {
      await failed(client.request('GET', '/ill'));
      await client.request('GET', '/');
    }
    // Two: undici gives one back only a turn of the event loop after its answer.
    expect(ports.size).toBeLessThanOrEqual(2);
    await until(() => client.state().connections.idle === ports.size);
  });
});

describe('what goes along', () => {
  async function headersOf(
    act: (client: HttpClient) => Promise<unknown>,
    options: Partial<HttpClientOptions> = {},
  ): Promise<IncomingMessage['headers']> {
    let headers: IncomingMessage['headers'] = {};
    await using server = await serve((request, response) => {
      ({ headers } = request);
      response.end();
    });
    await act(clientOf(server.origin, options));
    return headers;
  }

  test('the trace, the correlation id, the time left and the number of the attempt', async () => {
    const context = createContext({ correlationId: 'c-1', deadlineAtMs: clock.monotonicMs() + 3_000 });
    const headers = await headersOf((client) => runInContext(context, () => client.request('GET', '/')));
    expect(headers).toMatchObject({ 'x-correlation-id': 'c-1', 'plimsoll-attempt': '1' });
    expect(headers['traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
    const left = Number(headers['x-request-timeout-ms']);
    expect(left > 0 && left <= 2_990).toBe(true);
  });

  test('the time of the attempt where it is shorter than the deadline, and no marker where nothing is repeated', async () => {
    const headers = await headersOf((client) => client.request('POST', '/'), {
      policy: { timeout: { ms: 1_000 } },
    });
    expect(Number(headers['x-request-timeout-ms'])).toBeLessThanOrEqual(990);
    expect(headers['plimsoll-attempt']).toBeUndefined();
    expect(headers['traceparent']).toBeUndefined();
  });

  test('inside of an attempt that a layer outside repeats, nothing is repeated here', async () => {
    let asked = 0;
    await using server = await serve((_request, response) => {
      asked += 1;
      response.writeHead(503).end();
    });
    const outer = { signal: new AbortController().signal, number: 2, repeats: true };
    await failed(runInAttempt(outer, (client) => client.request('GET', '/'), clientOf(server.origin)));
    expect(asked).toBe(1);
  });

  test('headers of the client and of the request, the latter first, whatever their case', async () => {
    const headers = await headersOf((client) => client.request('GET', '/', { headers: { 'X-Two': 'b' } }), {
      headers: { Authorization: 'a', 'x-two': 'a' },
    });
    expect(headers).toMatchObject({ authorization: 'a', 'x-two': 'b' });
  });

  test('a key of the running operation and the effect, the same for every attempt', async () => {
    const keys: unknown[] = [];
    await using server = await serve((request, response) => {
      keys.push(request.headers['idempotency-key']);
      response.writeHead(keys.length === 1 ? 503 : 200).end();
    });
    const client = clientOf(server.origin);
    await runInContext(createContext({ key: 'order-7' }), () =>
      client.request('POST', '/charges', { effect: 'charge' }),
    );
    expect(keys).toEqual(['order-7/bank/charge', 'order-7/bank/charge']);
    await expect(client.request('POST', '/', { effect: 'charge' })).rejects.toThrow('none runs here');
  });

  test('JSON, text and query values arrive as they were given', async () => {
    const seen: unknown[] = [];
    await using server = await serve((request, response) => {
      request.setEncoding('utf8').on('data', (text: string) => seen.push(text));
      request.on('end', () => {
        seen.push(request.url, request.headers['content-type']);
        response.end();
      });
    });
    const client = clientOf(server.origin);
    await client.request('POST', '/a', { json: { name: 'é' } });
    await client.request('PUT', '/b', { body: 'text', headers: { 'content-type': 'text/plain' } });
    await client.request('GET', '/c/:id/d:e?x=1#f', {
      params: { id: 'a/b?c' },
      query: { q: 'a&b=c d', list: [1, 2], none: undefined, at: new Date(0) },
    });
    expect(seen).toEqual([
      '{"name":"é"}',
      '/a',
      'application/json',
      'text',
      '/b',
      'text/plain',
      '/c/a%2Fb%3Fc/d:e?x=1&q=a%26b%3Dc+d&list=1&list=2&at=1970-01-01T00%3A00%3A00.000Z',
      undefined,
    ]);
  });
});

describe('the end of waiting', () => {
  test.each(['signal', 'context'])(
    'the %s cancels the request on the server, and nothing is repeated',
    async (by) => {
      const arrived = Promise.withResolvers<void>();
      const closed = Promise.withResolvers<void>();
      let asked = 0;
      await using server = await serve((_request, response) => {
        asked += 1;
        arrived.resolve();
        response.on('close', closed.resolve);
      });
      const client = clientOf(server.origin);
      const controller = new AbortController();
      const call = failed(
        by === 'signal'
          ? client.request('GET', '/', { signal: controller.signal })
          : runInContext(createContext({ signal: controller.signal }), () => client.request('GET', '/')),
      );
      await arrived.promise;
      controller.abort(new Error('gone'));
      expect(await call).toMatchObject({ code: 'PL_ABORTED', data: { sent: 'maybe', attempts: 1 } });
      await closed.promise;
      expect(asked).toBe(1);
      expect(client.state()).toMatchObject({ inFlight: 0, policy: { breaker: { failures: 0 } } });
      const late = await failed(client.request('GET', '/', { signal: controller.signal }));
      expect(late).toMatchObject({ code: 'PL_ABORTED', data: { sent: 'no', attempts: 0 } });
    },
  );

  test('the deadline of the request ends it', async () => {
    await using server = await serve(() => undefined);
    const context = createContext({ deadlineAtMs: clock.monotonicMs() + 50 });
    const error = await failed(runInContext(context, () => clientOf(server.origin).request('GET', '/')));
    expect(error).toMatchObject({ code: 'PL_DEADLINE', data: { method: 'GET', path: '/' } });
  });

  test('what was given up while it waited for a connection is never sent', async () => {
    const asked: (string | undefined)[] = [];
    const answers: (() => void)[] = [];
    await using server = await serve((request, response) => {
      asked.push(request.url);
      answers.push(() => response.end());
    });
    const client = clientOf(server.origin, { maxConnections: 1 });
    const first = client.request('GET', '/first');
    await until(() => asked.length === 1);
    const controller = new AbortController();
    const second = failed(client.request('POST', '/second', { signal: controller.signal }));
    controller.abort();
    expect(await second).toMatchObject({ code: 'PL_ABORTED', data: { sent: 'no' } });
    const third = client.request('GET', '/third');
    answers[0]?.();
    await first;
    await until(() => answers.length === 2);
    answers[1]?.();
    await third;
    expect(asked).toEqual(['/first', '/third']);
  });

  test('close waits for what is under way, refuses what is new, and leaves no connection', async () => {
    const answers: (() => void)[] = [];
    await using server = await serve((_request, response) => void answers.push(() => response.end('1')));
    const client = clientOf(server.origin);
    const before = process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
    const under = client.request('GET', '/');
    await until(() => answers.length === 1);
    const closing = client.close();
    expect(client.state().state).toBe('draining');
    const refused = await failed(client.request('GET', '/'));
    expect(refused).toMatchObject({ code: 'PL_DRAINING', data: { sent: 'no' } });
    answers[0]?.();
    expect((await under).json()).toBe(1);
    await closing;
    await client.close();
    await server.empty();
    expect(client.state()).toMatchObject({ state: 'closed', inFlight: 0, connections: { open: 0 } });
    await until(
      () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length <= before,
    );
  });
});

describe('what is refused before anything is sent', () => {
  test.each([
    'http://169.254.169.254/latest',
    'https://127.0.0.1/',
    '//evil.example/x',
    '/\\evil.example/x',
    'relative',
    'file:///etc/passwd',
    'http://user@127.0.0.1:1/',
  ])('%s is outside of the origin', async (target) => {
    const client = clientOf('http://127.0.0.1:1');
    const error = await failed(client.request('GET', target));
    expect(error.code).toBe('PL_CONFIG');
    expect(error.message).toContain('outside of http://127.0.0.1:1');
    expect(client.policy.state().retry).toMatchObject({ calls: 0 });
  });

  test('a URL of the same origin is allowed, as one that an answer has linked to', async () => {
    await using server = await serve((request, response) => response.end(JSON.stringify(request.url)));
    const answer = await clientOf(server.origin).request('GET', new URL('/next/:x?page=2', server.origin));
    expect(answer.json()).toBe('/next/:x?page=2');
  });

  test.each([
    [{ params: { id: '..' } }, 'PL_INPUT_INVALID'],
    [{ params: {} }, 'PL_INPUT_INVALID'],
    [{ params: { id: '\ud800' } }, 'PL_INPUT_INVALID'],
    [{ params: { id: 1 }, query: { a: {} } }, 'PL_INPUT_INVALID'],
    [{ params: { id: 1 }, headers: { Host: 'evil' } }, 'PL_CONFIG'],
    [{ params: { id: 1 }, headers: { 'Idempotency-Key': 'k' } }, 'PL_CONFIG'],
    [{ params: { id: 1 }, headers: { a: 'b\r\nc: d' } }, 'PL_CONFIG'],
    [{ params: { id: 1 }, idempotencyKey: 'a\nb' }, 'PL_INPUT_INVALID'],
    [{ params: { id: 1 }, json: 1, body: 'a' }, 'PL_CONFIG'],
    [{ params: { id: 1 }, json: 1n }, 'PL_PAYLOAD_INVALID'],
  ])('%o', async (options, code) => {
    const client = clientOf('http://127.0.0.1:1');
    expect((await failed(client.request('POST', '/a/:id', options as object))).code).toBe(code);
    expect(client.policy.state().retry).toMatchObject({ calls: 0 });
  });

  test('every option that is not valid is told at once', () => {
    for (const origin of ['bank', 'ftp://bank', 'https://bank/api', 'https://u:p@bank', 'https://bank?a', ''])
      expect(() => createHttpClient({ name: 'bank', origin })).toThrow('origin: is no origin');
    const bad = { name: '', origin: 'x', maxConnections: 0, connectTimeoutMs: 0, maxBodyBytes: 0.5 };
    expect(() => createHttpClient({ ...bad, headers: { host: 'a' } })).toThrow('has 6 problems');
  });
});

test('each attempt is told, by its path without values, and measured', async () => {
  let asked = 0;
  await using server = await serveRaw((socket) => {
    asked += 1;
    if (asked === 1) socket.destroy();
    else socket.write(`HTTP/1.1 ${asked === 2 ? 503 : 404} x\r\ncontent-length: 0\r\n\r\n`);
  });
  const scope = {};
  const telemetry = createTelemetry(scope);
  try {
    await clientOf(server.origin, { scope }).request('GET', '/a/:id', { params: { id: 7 } });
    const key = {
      'http.request.method': 'GET',
      'server.address': '127.0.0.1',
      'url.template': '/a/:id',
      count: 1,
    };
    expect(telemetry.snapshot(1_000)['http.client.request.duration']).toMatchObject([
      { ...key, 'error.type': 'UND_ERR_SOCKET' },
      { ...key, 'http.response.status_code': 503 },
      { ...key, 'http.response.status_code': 404 },
    ]);
  } finally {
    await telemetry.stop();
  }
});

test('several clients may share a policy', async () => {
  await using server = await serve((_request, response) => response.end('1'));
  const policy = createPolicy({ name: 'bank', bulkhead: { max: 1 } });
  const [one, two] = [clientOf(server.origin, { policy }), clientOf(server.origin, { policy })];
  await Promise.all([one.request('GET', '/'), two.request('GET', '/')]);
  expect(policy.state().retry).toMatchObject({ calls: 2 });
});
