import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import express from 'express';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { sql } from '../database/sql.ts';
import { createGateway, type Gateway } from '../gateway/gateway.ts';
import { route, type Route } from '../gateway/route.ts';
import { httpRequests, type HttpRequestMessage } from '../kernel/channels.ts';
import { currentContext, remainingMs } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { command, contract, query } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { plimsollContext } from './context.ts';
import { mountRoutes } from './mount-routes.ts';

const echo = contract('echo', {
  say: command({
    input: z.object({ id: z.string().optional(), text: z.string().min(1) }),
    output: z.object({ id: z.string().optional(), text: z.string(), key: z.string() }),
    errors: { Rude: z.object({ text: z.string() }) },
  }),
  nothing: command({ input: z.object({}) }),
  number: command({ input: z.number(), output: z.number() }),
  find: query({
    input: z.object({ id: z.string(), limit: z.coerce.number().default(1) }),
    output: z.unknown(),
  }),
  slow: query({ input: z.object({}), output: z.unknown(), timeoutMs: 60 }),
  broken: query({ input: z.object({}), output: z.unknown() }),
});
const echoModule = module(echo, {
  owns: { schema: 'echo' },
  commands: {
    say: async ({ id, text }, { key, fail }) =>
      text === 'rude' ? fail('Rude', { text }) : { id, text, key },
    nothing: async () => undefined,
    number: async (n) => n + 1,
  },
  queries: {
    find: async (input, { correlationId, caller }) => ({ ...input, correlationId, ...caller }),
    slow: (_input, { db }) => db.query(sql`select pg_sleep(10)`),
    broken: async () => {
      throw new Error('a bug with a secret');
    },
  },
});
const routes: readonly Route[] = [
  route('/say', echo.say, { status: 201, errors: { Rude: 409 } }),
  route('/say/:id', echo.say),
  route('/nothing', echo.nothing),
  route('/number', echo.number),
  route('/find/:id', echo.find),
  route('/slow', echo.slow),
  route('/broken', echo.broken),
];

let server: TestDatabase;
let app: App;
let gateway: Gateway;
let http: Server;
let url: string;
/** What the ordinary handlers below have seen. */
const seen: { aborted?: Promise<void>; started?: () => void } = {};

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(
    plan({
      name: 'echoes',
      modules: [echoModule],
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 100, errorRate: 0 } },
    }),
    { databaseUrl: server.url, listen: false },
  );
  await app.start();
  gateway = createGateway({
    scope: {},
    routes,
    call: app.call as (operation: unknown, input: unknown) => Promise<unknown>,
    ready: () => Promise.resolve(),
    port: 0,
    maxBodyBytes: 1_000,
  });
  await gateway.start();

  const site = express();
  site.use(
    plimsollContext({
      app,
      caller: ({ user }: { user?: string }) => {
        if (user === 'unknown') throw new PlimsollError('PL_UNAUTHENTICATED', 'unknown');
        return user === undefined ? undefined : { principal: user };
      },
    }),
  );
  // An authentication, which comes after.
  site.use((request, _response, next) => {
    Object.assign(request, { user: request.headers.authorization });
    next();
  });
  site.use('/parsed', express.json());
  site.get('/context', (_request, response) => {
    const { correlationId, key, deadlineAtMs } = currentContext()!;
    const leftMs = remainingMs(currentContext()!);
    response.json({ correlationId, key, hasDeadline: deadlineAtMs !== undefined, leftMs });
  });
  site.post('/parsed/context', async (request, response) => {
    await app.database.query(sql`select 1`);
    response.json({ body: request.body as unknown, correlationId: currentContext()!.correlationId });
  });
  site.get('/parsed/hang/:id', () => {
    const { signal } = currentContext()!;
    seen.aborted = new Promise((resolve) => signal!.addEventListener('abort', () => resolve()));
    seen.started?.();
  });
  const mounted = express.Router();
  mountRoutes(app, mounted, { routes, maxBodyBytes: 1_000 });
  site.use('/api', mounted);
  const late = express.Router();
  late.use(express.json());
  mountRoutes(app, late, { routes });
  site.use('/late', late);
  site.use(
    (error: Error, _request: express.Request, response: express.Response, _next: express.NextFunction) => {
      response.status(500).json({ handledByTheUser: error.message });
    },
  );
  http = site.listen(0, '127.0.0.1');
  await new Promise((resolve) => http.once('listening', resolve));
  url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
});
afterAll(async () => {
  http?.closeAllConnections();
  await new Promise((resolve) => (http === undefined ? resolve(0) : http.close(resolve)));
  await gateway?.stop();
  await app?.stop();
  await server?.drop();
});

const json = { 'content-type': 'application/json' };

describe('plimsollContext', () => {
  test('takes the correlation id and the key of the client, and sends the id back', async () => {
    const headers = { 'x-correlation-id': 'trace-1', 'idempotency-key': 'pay-7' };
    const answer = await fetch(`${url}/context`, { headers });
    expect(answer.headers.get('x-correlation-id')).toBe('trace-1');
    expect(await answer.json()).toMatchObject({ correlationId: 'trace-1', key: 'pay-7', hasDeadline: true });
  });

  test('makes both where none is given, and refuses an id that could forge a log line', async () => {
    const answer = await fetch(`${url}/context`, { headers: { 'x-correlation-id': 'a b"{}' } });
    const body = (await answer.json()) as { correlationId: string; key: string; leftMs: number };
    expect(body.correlationId).toMatch(/^[0-9a-f-]{36}$/);
    expect(answer.headers.get('x-correlation-id')).toBe(body.correlationId);
    expect(body.key).not.toBe(body.correlationId);
    expect(body.leftMs).toBeLessThanOrEqual(10_000);
  });

  test('hands on the trace and the caller, who is asked at the call', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const answer = await fetch(`${url}/api/find/a`, { headers: { traceparent, authorization: 'ada' } });
    expect(await answer.json()).toMatchObject({
      principal: 'ada',
      traceparent,
      correlationId: '0af76519-16cd-43dd-8448-eb211c80319c',
    });
    const refused = await fetch(`${url}/api/find/a`, { headers: { authorization: 'unknown' } });
    expect([refused.status, await refused.json()]).toMatchObject([401, { code: 'PL_UNAUTHENTICATED' }]);
  });

  test('holds through a body parser and a statement', async () => {
    const headers = { ...json, 'x-correlation-id': 'parsed-1' };
    const answer = await fetch(`${url}/parsed/context`, { method: 'POST', headers, body: '{"a":1}' });
    expect(await answer.json()).toEqual({ body: { a: 1 }, correlationId: 'parsed-1' });
  });

  test('the signal aborts when the client goes, and telemetry has the pattern and 499', async () => {
    const messages: HttpRequestMessage[] = [];
    const stop = httpRequests.subscribe((message) => messages.push(message));
    try {
      const started = new Promise<void>((resolve) => (seen.started = resolve));
      const { port } = http.address() as AddressInfo;
      const client = connect(port, '127.0.0.1');
      client.on('error', () => undefined);
      client.write('GET /parsed/hang/42 HTTP/1.1\r\nhost: x\r\n\r\n');
      await started;
      client.destroy();
      await seen.aborted;
      await expect
        .poll(() => messages.find((message) => message.route === '/parsed/hang/:id'))
        .toMatchObject({ status: 499, scope: app.database.scope, span: {} });
    } finally {
      stop();
    }
  });
});

test('an app that does not run stops only what needs it', async () => {
  const idle = createApp(
    plan({
      name: 'idle',
      modules: [echoModule],
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 100, errorRate: 0 } },
    }),
    { listen: false },
  );
  const site = express();
  site.use(plimsollContext({ app: idle }));
  site.get('/own', (_request, response) => void response.json('fine'));
  mountRoutes(idle, site, { routes });
  const own = site.listen(0, '127.0.0.1');
  try {
    await new Promise((resolve) => own.once('listening', resolve));
    const base = `http://127.0.0.1:${(own.address() as AddressInfo).port}`;
    expect(await ask(base, '/own')).toMatchObject({ status: 200, body: 'fine' });
    expect(await ask(base, '/find/a')).toMatchObject({ status: 500, body: { code: 'PL_LIFECYCLE' } });
  } finally {
    own.closeAllConnections();
    await new Promise((resolve) => own.close(resolve));
  }
});

interface Comparable {
  readonly status: number;
  readonly type: string | null;
  readonly correlationId: string | null;
  readonly body: unknown;
}

async function ask(base: string, path: string, init: RequestInit = {}): Promise<Comparable> {
  // Of each request its own: the same would be answered from the record of the first.
  const key = randomUUID();
  const headers = {
    'x-correlation-id': 'same',
    'idempotency-key': key,
    ...(init.headers as Record<string, string>),
  };
  const answer = await fetch(`${base}${path}`, { ...init, headers });
  const text = (await answer.text()).replaceAll(key, 'what was sent');
  return {
    status: answer.status,
    type: answer.headers.get('content-type')?.split(';')[0] ?? null,
    correlationId: answer.headers.get('x-correlation-id'),
    body: text === '' ? '' : (JSON.parse(text) as unknown),
  };
}

const post = (body: string, headers: Record<string, string> = json): RequestInit => ({
  method: 'POST',
  body,
  headers,
});

describe('mountRoutes answers as the gateway does', () => {
  test.each<[string, number, string, RequestInit?]>([
    ['a command', 201, '/say', post('{"text":"hello"}')],
    ['path parameters win over the body', 200, '/say/7', post('{"text":"hello","id":"forged"}')],
    ['a declared error with the status of the route', 409, '/say', post('{"text":"rude"}')],
    ['a declared error without one', 422, '/say/7', post('{"text":"rude"}')],
    ['an input that the schema refuses', 400, '/say', post('{"text":""}')],
    ['no body', 400, '/say', { method: 'POST' }],
    ['nothing in, nothing out', 204, '/nothing', post('{}')],
    ['a body that is no object', 200, '/number', post('41')],
    ['a query with path and query string', 200, '/find/a%2Fb?limit=3&id=forged'],
    ['a query with a bad value', 400, '/find/a?limit=many'],
    ['a query that takes too long', 504, '/slow'],
  ])('%s: %i', async (_what, status, path, init) => {
    const mounted = await ask(`${url}/api`, path, init);
    expect(mounted.status).toBe(status);
    expect(mounted).toEqual(await ask(gateway.url, path, init));
    // A parser of the user's own, before ours, changes nothing.
    if (path !== '/number') expect(await ask(`${url}/late`, path, init)).toEqual(mounted);
  });

  test.each<[string, number, string, RequestInit]>([
    [
      'a body that is not JSON',
      415,
      'PL_UNSUPPORTED_MEDIA',
      post('text=hello', { 'content-type': 'application/x-www-form-urlencoded' }),
    ],
    ['JSON that cannot be read', 400, 'PL_BAD_REQUEST', post('{"text":')],
    ['a body that is too large', 413, 'PL_BODY_TOO_LARGE', post(JSON.stringify({ text: 'x'.repeat(2_000) }))],
  ])('%s: %i', async (_what, status, code, init) => {
    const mounted = await ask(`${url}/api`, '/say', init);
    expect(mounted).toMatchObject({ status, type: 'application/problem+json', body: { status, code } });
    const reference = await ask(gateway.url, '/say', init);
    expect(reference).toMatchObject({ status, body: { code } });
  });

  test('the method follows from the operation', async () => {
    expect((await fetch(`${url}/api/say`)).status).toBe(404);
    expect((await fetch(`${url}/api/find/a`, { method: 'POST' })).status).toBe(404);
  });

  test("a bug goes to the user's error handler", async () => {
    expect(await ask(`${url}/api`, '/broken')).toMatchObject({
      status: 500,
      body: { handledByTheUser: 'a bug with a secret' },
    });
  });

  test('telemetry has the whole pattern, the operation and the error', async () => {
    const messages: HttpRequestMessage[] = [];
    const stop = httpRequests.subscribe((message) => messages.push(message));
    try {
      await ask(`${url}/api`, '/find/9?limit=many');
      await expect
        .poll(() => messages.find((message) => message.scope === app.database.scope))
        .toMatchObject({
          method: 'GET',
          route: '/api/find/:id',
          operation: 'echo.find',
          status: 400,
          error: { code: 'PL_INPUT_INVALID' },
        });
    } finally {
      stop();
    }
  });
});
