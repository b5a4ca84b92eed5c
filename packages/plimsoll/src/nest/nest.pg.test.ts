import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import {
  Body,
  Controller,
  ForbiddenException,
  Get,
  Injectable,
  Module,
  Param,
  Post,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
  type INestApplication,
  type MiddlewareConsumer,
  type ModuleMetadata,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { NestFactory, type AbstractHttpAdapter } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterAll, beforeAll, describe, expect, expectTypeOf, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { httpRequests, type HttpRequestMessage } from '../kernel/channels.ts';
import { currentContext, remainingMs } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { command, contract, query, type Result } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { PlimsollApp, PlimsollDatabase, PlimsollDatabaseModule, PlimsollModule } from './index.ts';

const echo = contract('echo', {
  say: command({
    input: z.object({ text: z.string().min(1) }),
    output: z.object({ seen: z.unknown() }),
    errors: { Rude: z.object({ text: z.string() }) },
  }),
  slow: query({ input: z.object({}), output: z.unknown(), timeoutMs: 60 }),
});
/** Everything that a request hands on. */
const seenHere = (): unknown => {
  const { correlationId, key, caller, signal } = currentContext()!;
  return { correlationId, key, caller, hasSignal: signal !== undefined };
};
const echoModule = module(echo, {
  owns: { schema: 'echo' },
  commands: {
    say: async ({ text }, { fail }) => (text === 'rude' ? fail('Rude', { text }) : { seen: seenHere() }),
  },
  queries: { slow: (_input, { db }) => db.query(sql`select pg_sleep(10)`) },
});
const planNamed = (name: string): ReturnType<typeof plan> =>
  plan({
    name,
    modules: [echoModule],
    expectedPeak: { requestsPerSecond: 1 },
    objectives: { default: { p95Ms: 100, errorRate: 0 } },
  });

type Asked = object & { user?: string; headers: Record<string, string | undefined> };

/** As a guard of Passport does it: it leaves whom it has found on the request. */
class UserGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<Asked>();
    const { authorization } = request.headers;
    if (authorization === 'forbidden') throw new PlimsollError('PL_UNAUTHENTICATED', 'who are you?');
    if (authorization !== undefined) request.user = authorization;
    return true;
  }
}
Injectable()(UserGuard);

class Site {
  readonly app: App;
  readonly database: Database;

  constructor(app: App, database: Database) {
    this.app = app;
    this.database = database;
  }

  async say(body: { text: string }): Promise<unknown> {
    const here = seenHere();
    const outcome = await this.app.call(echo.say, body);
    expectTypeOf(outcome).toEqualTypeOf<Result<typeof echo.say>>();
    expectTypeOf(outcome.ok).toEqualTypeOf<boolean>();
    if (!outcome.ok) throw new ForbiddenException(outcome.data);
    return { here, there: outcome.value.seen, leftMs: remainingMs(currentContext()!) };
  }

  slow(): unknown {
    return this.app.call(echo.slow, {});
  }

  sleep(): unknown {
    return this.database.query(sql`select pg_sleep(60) as "under-way"`);
  }

  async lock(id: string): Promise<unknown> {
    await this.database.query(sql`select pg_advisory_xact_lock(${Number(id)}::bigint)`);
    return { locked: id };
  }

  fail(what: string): never {
    if (what === 'overloaded') throw new PlimsollError('PL_OVERLOADED', 'too much');
    if (what === 'copy')
      throw Object.assign(new Error('of another copy'), { code: 'PL_NOT_FOUND', data: {} });
    if (what === 'forbidden') throw new ForbiddenException('not you');
    throw new Error('a bug with a secret');
  }

  scope(): unknown {
    return { tables: this.database.scope === this.app.database.scope };
  }
}
const decorate = (verb: MethodDecorator, name: keyof Site): void =>
  void verb(Site.prototype, name, Object.getOwnPropertyDescriptor(Site.prototype, name)!);
decorate(Post('say'), 'say');
Body()(Site.prototype, 'say', 0);
decorate(Get('slow'), 'slow');
decorate(Get('sleep/:id'), 'sleep');
decorate(Get('lock/:id'), 'lock');
Param('id')(Site.prototype, 'lock', 0);
decorate(Get('fail/:what'), 'fail');
Param('what')(Site.prototype, 'fail', 0);
decorate(Get('scope'), 'scope');
Reflect.defineMetadata('design:paramtypes', [PlimsollApp, PlimsollDatabase], Site);
UseGuards(UserGuard)(Site);
Controller('site')(Site);

const platforms: readonly (readonly [string, () => AbstractHttpAdapter])[] = [
  ['express', () => new ExpressAdapter()],
  ['fastify', () => new FastifyAdapter()],
];

/** Called by each request that has come in, when a test sets it. */
let onArrival: (() => void) | undefined;

async function nest(adapter: AbstractHttpAdapter, metadata: ModuleMetadata): Promise<INestApplication> {
  class Root {
    configure(consumer: MiddlewareConsumer): void {
      consumer
        .apply((_request: unknown, _response: unknown, next: () => void) => {
          // A call before the guards, as a middleware of a user may make it.
          if (currentContext()!.key === 'refused')
            throw new PlimsollError('PL_OVERLOADED', 'refused by a middleware');
          next();
        })
        .forRoutes('*path');
    }
  }
  Module(metadata)(Root);
  const app = await NestFactory.create(Root, adapter, { logger: false, abortOnError: false });
  // Before anything reads a body.
  return app.use((_request: unknown, _response: unknown, next: () => void) => {
    onArrival?.();
    next();
  });
}

async function listen(app: INestApplication): Promise<string> {
  await app.listen(0, '127.0.0.1');
  const { port } = (app.getHttpServer() as { address(): AddressInfo }).address();
  return `http://127.0.0.1:${port}`;
}

/** Connections that an app of this name has open. */
async function connectionsOf(name: string, doing = '%'): Promise<number> {
  await using database = createDatabase({ url: server.url, applicationName: 'the test' });
  const { count } = await database.one<{ count: number }>(
    sql`select count(*)::int as count from pg_stat_activity where application_name = ${name}
      and query like ${doing}`,
  );
  return count;
}

const json = { 'content-type': 'application/json' };
let server: TestDatabase;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
});
afterAll(async () => {
  await server?.drop();
});

describe('behind a proxy that ends TLS', () => {
  const trusting: readonly (readonly [string, () => AbstractHttpAdapter])[] = [
    [
      'express',
      () => {
        const adapter = new ExpressAdapter();
        adapter.set('trust proxy', 'loopback');
        return adapter;
      },
    ],
    ['fastify', () => new FastifyAdapter({ trustProxy: '127.0.0.1' })],
  ];
  const https = { 'x-forwarded-proto': 'https' };

  async function cookies(adapter: AbstractHttpAdapter): Promise<(string | undefined)[]> {
    const site = await nest(adapter, {
      imports: [
        PlimsollDatabaseModule.forRoot({
          url: server.url,
          name: 'behind',
          seen: { cookie: true },
        }),
      ],
      providers: [{ provide: PlimsollApp, useValue: undefined }],
      controllers: [Site],
    });
    try {
      const url = await listen(site);
      const given = async (headers: Record<string, string>): Promise<string | undefined> =>
        (await fetch(`${url}/site/lock/1`, { headers })).headers.getSetCookie()[0]?.split(';')[0];
      const own = (await given(https)) ?? '';
      const [plain] = [await given({})];
      // Taken again under the name that the scheme has, and under no other.
      const heard = async (headers: Record<string, string>): Promise<boolean> =>
        (await fetch(`${url}/site/scope`, { headers })).headers.get('cache-control') !== null;
      expect(await heard({ ...https, cookie: own })).toBe(own.startsWith('__Host-'));
      expect(await heard({ cookie: plain ?? '' })).toBe(true);
      return [own, plain].map((each) => each?.split('=')[0]);
    } finally {
      await site.close();
    }
  }

  test.each(trusting)('%s: the cookie has the name of the scheme that clients use', async (_name, create) => {
    expect(await cookies(create())).toEqual(['__Host-plimsoll-seen', 'plimsoll-seen']);
  });
});

describe.each(platforms)('on %s', (platform, createAdapter) => {
  let site: INestApplication;
  let url: string;
  const name = `echo-${platform}`;
  beforeAll(async () => {
    site = await nest(createAdapter(), {
      imports: [
        PlimsollModule.forRoot({
          plan: planNamed(name),
          databaseUrl: server.url,
          caller: ({ user }: Asked) => {
            if (user === 'unknown') throw new PlimsollError('PL_UNAUTHENTICATED', 'unknown');
            return user === undefined ? undefined : { principal: user, tenant: 'acme' };
          },
        }),
      ],
      controllers: [Site],
    });
    url = await listen(site);
  });
  afterAll(async () => {
    await site?.close();
    expect(await connectionsOf(name)).toBe(0);
  });

  const say = (headers: Record<string, string>, text = 'hello'): Promise<Response> =>
    fetch(`${url}/site/say`, {
      method: 'POST',
      headers: { ...json, ...headers },
      body: JSON.stringify({ text }),
    });

  test('a controller and the command it calls see the request, its trace and its caller', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const answer = await say({
      'x-correlation-id': 'visit-1',
      'idempotency-key': 'pay-7',
      traceparent,
      authorization: 'ada',
    });
    const expected = {
      correlationId: 'visit-1',
      key: 'pay-7',
      caller: { principal: 'ada', tenant: 'acme', traceparent },
      hasSignal: true,
    };
    expect(answer.status).toBe(201);
    expect(answer.headers.get('x-correlation-id')).toBe('visit-1');
    const body = (await answer.json()) as { leftMs: number };
    expect(body).toMatchObject({ here: expected, there: expected });
    expect(body.leftMs).toBeLessThanOrEqual(10_000);
  });

  test('the context holds through a body that comes later than its request', async () => {
    const { promise: arrived, resolve } = Promise.withResolvers<void>();
    onArrival = resolve;
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(new TextEncoder().encode('{"text":'));
        await arrived;
        controller.enqueue(new TextEncoder().encode('"hello"}'));
        controller.close();
      },
    });
    const headers = { ...json, 'x-correlation-id': 'pieces-1' };
    const answer = await fetch(`${url}/site/say`, { method: 'POST', headers, body, duplex: 'half' });
    onArrival = undefined;
    expect(await answer.json()).toMatchObject({
      here: { correlationId: 'pieces-1' },
      there: { correlationId: 'pieces-1' },
    });
  });

  test('without headers it has ids of its own, and the trace gives the correlation id', async () => {
    const answer = await say({ traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    expect(answer.headers.get('x-correlation-id')).toBe('0af76519-16cd-43dd-8448-eb211c80319c');
    const plain = (await (await say({})).json()) as { here: { key: string; caller: object } };
    expect(plain.here).toMatchObject({ key: expect.stringMatching(/^[0-9a-f-]{36}$/), caller: {} });
  });

  test.each<[string, number, string, RequestInit?]>([
    [
      'an input that the schema refuses',
      400,
      'PL_INPUT_INVALID',
      { method: 'POST', headers: json, body: '{}' },
    ],
    [
      'a guard that throws',
      401,
      'PL_UNAUTHENTICATED',
      { method: 'POST', headers: { authorization: 'forbidden' } },
    ],
    [
      'a caller function that throws',
      401,
      'PL_UNAUTHENTICATED',
      { method: 'POST', headers: { ...json, authorization: 'unknown' }, body: '{"text":"x"}' },
    ],
    [
      'a middleware that throws',
      503,
      'PL_OVERLOADED',
      { method: 'POST', headers: { 'idempotency-key': 'refused' } },
    ],
  ])('%s: %i', async (_what, status, code, init) => {
    const answer = await fetch(`${url}/site/say`, init);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(await answer.json()).toMatchObject({
      type: `urn:plimsoll:error:${code}`,
      status,
      code,
      correlationId: answer.headers.get('x-correlation-id'),
    });
  });

  test.each<[string, number, string, RegExp]>([
    ['slow', 504, 'PL_DEADLINE', /^none$/],
    ['fail/overloaded', 503, 'PL_OVERLOADED', /^[123]$/],
    ['fail/copy', 404, 'PL_NOT_FOUND', /^none$/],
  ])('%s: %i', async (path, status, code, retryAfter) => {
    const answer = await fetch(`${url}/site/${path}`);
    expect(await answer.json()).toMatchObject({ status, code });
    expect(answer.status).toBe(status);
    expect(answer.headers.get('retry-after') ?? 'none').toMatch(retryAfter);
  });

  test("other exceptions stay Nest's own", async () => {
    const bodyOf = async (path: string, init?: RequestInit): Promise<unknown> => {
      const answer = await fetch(`${url}${path}`, init);
      expect(answer.headers.get('x-correlation-id')).toMatch(/./);
      return answer.json();
    };
    expect(await bodyOf('/site/fail/forbidden')).toEqual({
      statusCode: 403,
      message: 'not you',
      error: 'Forbidden',
    });
    expect(await bodyOf('/site/fail/bug')).toEqual({ statusCode: 500, message: 'Internal server error' });
    expect(await bodyOf('/nowhere')).toMatchObject({ statusCode: 404 });
    expect(await bodyOf('/site/say', { method: 'POST', headers: json, body: '{"text":' })).toMatchObject({
      statusCode: 400,
    });
    const rude = await say({}, 'rude');
    expect([rude.status, await rude.json()]).toEqual([403, { text: 'rude' }]);
  });

  test('the statement stops when the client goes, and telemetry has the pattern and 499', async () => {
    const messages: HttpRequestMessage[] = [];
    const stop = httpRequests.subscribe((message) => messages.push(message));
    try {
      const { hostname, port } = new URL(url);
      const client = connect(Number(port), hostname);
      client.on('error', () => undefined);
      client.write('GET /site/sleep/42 HTTP/1.1\r\nhost: x\r\n\r\n');
      await expect.poll(() => connectionsOf(name, '%under-way%'), { timeout: 10_000 }).toBe(1);
      client.destroy();
      await expect
        .poll(() => messages.find((message) => message.route === '/site/sleep/:id'), { timeout: 10_000 })
        .toMatchObject({ status: 499, scope: site.get(PlimsollApp).database.scope, span: {} });
      await using database = createDatabase({ url: server.url });
      const running = sql`select 1 from pg_stat_activity
        where application_name = ${name} and state = 'active' and query like '%under-way%'`;
      await expect.poll(() => database.query(running), { timeout: 10_000 }).toEqual([]);
    } finally {
      stop();
    }
  });

  test('telemetry has the error of a problem, and no pattern for what no route answers', async () => {
    const messages: HttpRequestMessage[] = [];
    const stop = httpRequests.subscribe((message) => messages.push(message));
    try {
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      await fetch(`${url}/site/fail/overloaded`, { headers: { traceparent } });
      await fetch(`${url}/nowhere/at/all`);
      await expect.poll(() => messages.length).toBe(2);
      expect(messages).toMatchObject([
        {
          method: 'GET',
          route: '/site/fail/:what',
          status: 503,
          error: { code: 'PL_OVERLOADED' },
          span: { root: { traceparent } },
        },
        { route: '(unmatched)', status: 404 },
      ]);
    } finally {
      stop();
    }
  });

  test('the limit of a request is its deadline', async () => {
    const hasty = await nest(createAdapter(), {
      imports: [
        PlimsollDatabaseModule.forRoot({
          url: server.url,
          applicationName: `hasty-${platform}`,
          requestTimeoutMs: 200,
        }),
      ],
      controllers: [databaseOnly()],
    });
    try {
      const answer = await fetch(`${await listen(hasty)}/sleep`);
      expect([answer.status, await answer.json()]).toMatchObject([504, { code: 'PL_DEADLINE' }]);
    } finally {
      await hasty.close();
    }
  });

  test('shutdown answers what is under way, then stops the app, then closes the pools', async () => {
    const appName = `closing-${platform}`;
    const app = createApp(planNamed(appName), { databaseUrl: server.url, listen: false });
    const order: string[] = [];
    /** A provider of the user that still needs the database when the server has ended. */
    class Last implements OnModuleInit, OnApplicationShutdown {
      async onModuleInit(): Promise<void> {
        await app.database.query(sql`select 1`);
        order.push('init');
      }
      async onApplicationShutdown(): Promise<void> {
        await app.database.query(sql`select 1`);
        order.push('shutdown');
      }
    }
    const closing = await nest(createAdapter(), {
      imports: [PlimsollModule.forRoot({ app })],
      controllers: [Site],
      providers: [Last],
    });
    const base = await listen(closing);
    await using holder = createDatabase({ url: server.url });
    const session = await holder.session();
    let closed: Promise<void> | undefined;
    try {
      await session.query(sql`select pg_advisory_lock(4711)`);
      const underWay = fetch(`${base}/site/lock/4711`);
      await expect.poll(() => connectionsOf(appName, '%pg_advisory_xact_lock%'), { timeout: 10_000 }).toBe(1);
      closed = closing.close();
      await expect.poll(() => fetch(base).then(String, () => 'refused'), { timeout: 10_000 }).toBe('refused');
      expect(app.state).toBe('running');
      await session.query(sql`select pg_advisory_unlock(4711)`);
      const answer = await underWay;
      expect(answer.headers.get('connection')).toBe('close');
      expect(await answer.json()).toEqual({ locked: '4711' });
      await closed;
    } finally {
      await session.close();
      await (closed ?? closing.close());
    }
    expect(app.state).toBe('stopped');
    expect(order).toEqual(['init', 'shutdown']);
    await expect.poll(() => connectionsOf(appName)).toBe(0);
  });

  test('a start that fails rejects with its error and leaves nothing open', async () => {
    const broken = module(contract('broken', {}), {
      owns: { schema: 'broken', migrations: new URL('./fixtures/broken/', import.meta.url) },
    });
    const appName = `broken-${platform}`;
    const app = createApp({ ...planNamed(appName), modules: [broken] }, { databaseUrl: server.url });
    const failing = await nest(createAdapter(), { imports: [PlimsollModule.forRoot({ app })] });
    await expect(failing.listen(0, '127.0.0.1')).rejects.toMatchObject({ code: 'PL_MIGRATION_FAILED' });
    expect(app.state).toBe('stopped');
    expect(await connectionsOf(appName)).toBe(0);
    expect((failing.getHttpServer() as { listening: boolean }).listening).toBe(false);
    await failing.close();
  });
});

/** A controller of a Nest app that has no modules of ours. */
function databaseOnly(): new (database: Database) => object {
  class Orders {
    readonly database: Database;
    constructor(database: Database) {
      this.database = database;
    }
    sleep(): unknown {
      return this.database.query(sql`select pg_sleep(60)`);
    }
    async schemas(): Promise<unknown> {
      return this.database.query(sql`select nspname from pg_namespace where nspname = 'plimsoll'`);
    }
  }
  Get('sleep')(Orders.prototype, 'sleep', Object.getOwnPropertyDescriptor(Orders.prototype, 'sleep')!);
  Get('schemas')(Orders.prototype, 'schemas', Object.getOwnPropertyDescriptor(Orders.prototype, 'schemas')!);
  Reflect.defineMetadata('design:paramtypes', [PlimsollDatabase], Orders);
  Controller()(Orders);
  return Orders;
}

test('the database alone: no schema of ours, closed with the app, known to be missing at the start', async () => {
  const own = await createTestDatabase(inject('cluster'));
  try {
    const site = await nest(new ExpressAdapter(), {
      imports: [PlimsollDatabaseModule.forRoot({ database: createDatabase({ url: own.url }) })],
      controllers: [databaseOnly()],
    });
    try {
      expect(await (await fetch(`${await listen(site)}/schemas`)).json()).toEqual([]);
    } finally {
      await site.close();
    }
    await expect(site.get(PlimsollDatabase).query(sql`select 1`)).rejects.toThrow();
  } finally {
    await own.drop();
  }
  const gone = await nest(new ExpressAdapter(), {
    imports: [PlimsollDatabaseModule.forRoot({ url: 'postgres://127.0.0.1:1/none' })],
  });
  await expect(gone.init()).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
  await gone.close();
});

test('two apps in one process stay apart', async () => {
  const other = await createTestDatabase(inject('cluster'));
  const messages: HttpRequestMessage[] = [];
  const stop = httpRequests.subscribe((message) => messages.push(message));
  const [first, second] = await Promise.all(
    [server.url, other.url].map((databaseUrl, at) =>
      nest(platforms[at]![1](), {
        imports: [PlimsollModule.forRoot({ plan: planNamed(`apart-${at}`), databaseUrl })],
        controllers: [Site],
      }),
    ),
  );
  try {
    const urls = [await listen(first!), await listen(second!)];
    for (const url of urls) await fetch(`${url}/site/scope`);
    await expect.poll(() => messages.length).toBe(2);
    const scopes = [first!, second!].map((site) => site.get(PlimsollApp).database.scope);
    expect(messages.map((message) => message.scope)).toEqual(scopes);
    await first!.close();
    expect(await (await fetch(`${urls[1]}/site/scope`)).json()).toEqual({ tables: true });
  } finally {
    stop();
    await first?.close();
    await second?.close();
    await other.drop();
  }
});

test('options may come from another module, and a global one needs no import', async () => {
  class Config {
    readonly url = server.url;
  }
  class ConfigModule {}
  Module({ providers: [Config], exports: [Config] })(ConfigModule);
  class Feature {}
  Module({ controllers: [Site] })(Feature);
  class Root {}
  Module({
    imports: [
      PlimsollModule.forRootAsync({
        isGlobal: true,
        imports: [ConfigModule],
        inject: [Config],
        useFactory: async ({ url }: Config) => ({ plan: planNamed('async'), databaseUrl: url }),
      }),
      Feature,
    ],
  })(Root);
  // Without HTTP.
  const context = await NestFactory.createApplicationContext(Root, {
    logger: false,
    abortOnError: false,
  });
  try {
    const app = context.get(PlimsollApp);
    expect(app.state).toBe('running');
    expect(context.get(Site).app).toBe(app);
    expect(await context.get(PlimsollDatabase).one(sql`select 1 as one`)).toEqual({ one: 1 });
  } finally {
    await context.close();
  }
  expect(() => context.get(PlimsollDatabase).query(sql`select 1`)).toThrow(/is not running/);
});

test('a factory that returns nothing is told what to return', async () => {
  const useFactory = (): never => undefined as never;
  const given = { logger: false, abortOnError: false } as const;
  const without = [
    PlimsollModule.forRootAsync({ useFactory }),
    PlimsollDatabaseModule.forRootAsync({ useFactory }),
  ];
  for (const imported of without) {
    class Root {}
    Module({ imports: [imported] })(Root);
    await expect(NestFactory.createApplicationContext(Root, given)).rejects.toMatchObject({
      code: 'PL_CONFIG',
    });
  }
});

test('ids that print what a module is made of do not print the app', async () => {
  const app = createApp(planNamed('printed'), { databaseUrl: server.url, listen: false });
  class Root {}
  Module({ imports: [PlimsollModule.forRoot({ app })] })(Root);
  const context = await NestFactory.createApplicationContext(Root, {
    logger: false,
    abortOnError: false,
    moduleIdGeneratorAlgorithm: 'deep-hash',
  });
  expect(context.get(PlimsollApp)).toBe(app);
  await context.close();
  expect(app.state).toBe('stopped');
});
