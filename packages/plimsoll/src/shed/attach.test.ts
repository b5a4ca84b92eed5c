import {
  Agent,
  createServer,
  get,
  request as send,
  type IncomingMessage,
  type RequestListener,
  type Server,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import fastify from 'fastify';
import { afterEach, describe, expect, test } from 'vitest';
import { shedExpress, shedFastify, shedListener } from './attach.ts';
import { createShedder, type Shedder } from './shedder.ts';
import type { Priority } from './options.ts';

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** A handler whose answers are held back until they are let go. */
interface Backend {
  readonly url: string;
  /** Requests that reached the handler. */
  readonly reached: () => number;
  readonly waiting: (() => void)[];
}

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

let pressure = 0;
const loop = { pressure: (): number => pressure };
afterEach(() => {
  pressure = 0;
});

const shedder = (initialLimit = 4): Shedder =>
  createShedder({
    name: 'edge',
    loop,
    limit: { initialLimit },
    priority: ({ headers }) => (headers['x-priority'] ?? 'interactive') as Priority,
  });

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

type Kind = (shed: Shedder) => Promise<Backend>;

const plain: Kind = async (shed) => {
  const { listener, backend } = held();
  return { ...backend, url: await listen(createServer(shedListener(shed, listener))) };
};

const underExpress: Kind = async (shed) => {
  const { listener, backend } = held();
  const app = express().use(shedExpress(shed)).use(listener);
  return { ...backend, url: await listen(createServer(app)) };
};

const underFastify =
  (host: string): Kind =>
  async (shed) => {
    const { listener, backend } = held();
    const app = fastify();
    await app.register(shedFastify(shed));
    for (const method of ['GET', 'POST'] as const)
      app.route({
        method,
        url: '/*',
        handler: (request, reply) => {
          reply.hijack();
          listener(request.raw, reply.raw);
        },
      });
    closers.push(() => app.close());
    const url = await app.listen({ port: 0, host });
    app.server.closeIdleConnections();
    return { ...backend, url };
  };

function held(): { listener: RequestListener; backend: Omit<Backend, 'url'> } {
  let reached = 0;
  const waiting: (() => void)[] = [];
  return {
    backend: { waiting, reached: () => reached },
    listener(request, response) {
      reached += 1;
      if (request.url === '/quick' || request.url === '/healthz') response.end('served');
      else waiting.push(() => response.end('served'));
    },
  };
}

function ask(url: string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false, headers }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
    }).on('error', reject);
  });
}

async function until(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error('the condition did not come true within 10 s');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const kinds: readonly (readonly [string, Kind])[] = [
  ['a listener of node:http', plain],
  ['Express', underExpress],
  ['Fastify', underFastify('127.0.0.1')],
];

describe.each(kinds)('%s', (_name, start) => {
  test('lets requests through and counts them until they are answered', async () => {
    const shed = shedder();
    const { url, waiting, reached } = await start(shed);
    const answers = [ask(url), ask(url)];
    await until(() => reached() === 2);
    expect(shed.state().classes[0]?.inFlight).toBe(2);
    for (const letGo of waiting) letGo();
    expect((await Promise.all(answers)).map(({ status, body }) => [status, body])).toEqual([
      [200, 'served'],
      [200, 'served'],
    ]);
    await until(() => shed.state().classes[0]?.inFlight === 0);
    expect(shed.state()).toMatchObject({ admitted: 2, refused: 0 });
  });

  test('refuses beyond the limit with 503 and Retry-After, and the handler never learns of it', async () => {
    const shed = shedder();
    const { url, waiting, reached } = await start(shed);
    const admitted = Array.from({ length: 4 }, () => ask(url));
    await until(() => reached() === 4);
    const refused = await Promise.all(Array.from({ length: 40 }, () => ask(url)));
    expect(new Set(refused.map(({ status }) => status))).toEqual(new Set([503]));
    const after = refused.map(({ headers }) => headers['retry-after']);
    expect(after.every((seconds) => seconds !== undefined && /^[123]$/.test(seconds))).toBe(true);
    expect(new Set(after).size).toBeGreaterThan(1);
    expect(refused[0]?.headers).toMatchObject({
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
    });
    expect(JSON.parse(refused[0]?.body ?? '')).toMatchObject({ status: 503, code: 'PL_OVERLOADED' });
    expect(reached()).toBe(4);
    for (const letGo of waiting) letGo();
    expect((await Promise.all(admitted)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  });

  test('answers health while everything else is refused', async () => {
    const { url } = await start(shedder());
    pressure = 1;
    expect((await ask(`${url}/quick`)).status).toBe(503);
    expect(await ask(`${url}/healthz`)).toMatchObject({ status: 200, body: 'served' });
    pressure = 0;
    expect((await ask(`${url}/quick`)).status).toBe(200);
  });

  test('refuses batch before interactive, and interactive before internal', async () => {
    const { url } = await start(shedder());
    const statusOf = async (rank: string): Promise<number> =>
      (await ask(`${url}/quick`, { 'x-priority': rank })).status;
    pressure = 0.5;
    expect([await statusOf('batch'), await statusOf('internal')]).toEqual([503, 200]);
    pressure = 1;
    expect([await statusOf('interactive'), await statusOf('internal')]).toEqual([503, 503]);
  });

  test('a client that goes away gives its place back', async () => {
    const shed = shedder();
    const { url, reached } = await start(shed);
    const leaving = Array.from({ length: 4 }, () => {
      const request = get(url, { agent: false });
      request.on('error', () => undefined);
      return request;
    });
    await until(() => reached() === 4);
    for (const request of leaving) request.destroy();
    await until(() => shed.state().classes[0]?.inFlight === 0);
    expect((await ask(`${url}/quick`)).status).toBe(200);
  });

  test('refuses a request with a body, and the connection can be used again', async () => {
    const { url } = await start(shedder());
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const options = { method: 'POST', agent, headers: { 'content-type': 'text/plain' } };
    const post = (): Promise<number> =>
      new Promise((resolve, reject) => {
        const request = send(`${url}/quick`, options, (response) => {
          response.resume().on('end', () => resolve(response.statusCode ?? 0));
        });
        request.on('error', reject);
        request.end('x'.repeat(200_000));
      });
    pressure = 1;
    expect(await post()).toBe(503);
    pressure = 0;
    expect(await post()).toBe(200);
    agent.destroy();
  });
});

describe('Fastify', () => {
  test('inject is met by the hook', async () => {
    const app = fastify();
    await app.register(shedFastify(shedder()));
    app.get('/', () => 'served');
    closers.push(() => app.close());
    expect((await app.inject('/')).statusCode).toBe(200);
    pressure = 1;
    const refused = await app.inject('/');
    expect(refused.statusCode).toBe(503);
    expect(refused.headers['retry-after']).toMatch(/^[123]$/);
  });

  test('a request is admitted once, on each server of localhost', async () => {
    const shed = shedder();
    const { url } = await underFastify('localhost')(shed);
    const { port } = new URL(url);
    const answers = [await ask(`http://127.0.0.1:${port}/quick`)];
    // Where there is no IPv6, there is no second server.
    answers.push(
      ...(await ask(`http://[::1]:${port}/quick`).then(
        (answer) => [answer],
        () => [],
      )),
    );
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(shed.state().admitted).toBe(answers.length);
    pressure = 1;
    expect((await ask(`http://127.0.0.1:${port}/quick`)).status).toBe(503);
    if (answers.length > 1) expect((await ask(`http://[::1]:${port}/quick`)).status).toBe(503);
  });

  test('covers what was registered elsewhere', async () => {
    const app = fastify();
    await app.register(async (inner) => {
      await inner.register(shedFastify(shedder()));
    });
    app.get('/outside', () => 'served');
    closers.push(() => app.close());
    pressure = 1;
    const url = await app.listen({ port: 0, host: '127.0.0.1' });
    expect((await ask(`${url}/outside`)).status).toBe(503);
  });
});
