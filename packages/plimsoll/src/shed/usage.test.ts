import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import fastify from 'fastify';
import { expect, test } from 'vitest';
// #region usage
import { createShedder, shedFastify } from 'plimsoll/shed';

const shedder = createShedder({ name: 'edge' });
const app = fastify();
await app.register(shedFastify(shedder));
// #endregion
import { shedExpress, shedListener } from 'plimsoll/shed';

interface ExpressLike {
  use(middleware: ReturnType<typeof shedExpress>): void;
}

test('Fastify', async () => {
  app.get('/', () => 'served');
  expect((await app.inject('/')).body).toBe('served');
  await app.close();
});

test('Express', () => {
  const used: unknown[] = [];
  const express: ExpressLike = { use: (middleware) => used.push(middleware) };
  // #region express
  express.use(shedExpress(shedder)); // before every other middleware
  // #endregion
  expect(used).toHaveLength(1);
});

test('node:http', () => {
  const listener: RequestListener = (_request, response) => void response.end();
  // #region listener
  const server = createServer(shedListener(shedder, listener));
  // #endregion
  expect(server.listenerCount('request')).toBe(1);
});

test('priorities, classes and clients', () => {
  // #region classes
  const careful = createShedder({
    name: 'edge',
    priority: ({ url = '', headers }) => {
      if (headers['x-internal'] !== undefined) return 'internal';
      return url.startsWith('/export') ? 'batch' : 'interactive';
    },
    // What waits for different things, and takes differently long, gets a limit of its own.
    routeClass: ({ url = '' }) => (url.startsWith('/pay') ? 'bank' : 'database'),
    client: ({ headers }) => headers.authorization,
  });
  // #endregion
  const request = { url: '/pay/1', headers: { authorization: 'Bearer a' } } as unknown as IncomingMessage;
  expect(careful.admit(request).admitted).toBe(true);
  expect(careful.state().classes.find(({ name }) => name === 'bank')?.inFlight).toBe(1);
});

test('the core alone', () => {
  const request = { url: '/', headers: {} } as unknown as IncomingMessage;
  const told: string[] = [];
  // #region core
  const decision = shedder.admit(request);
  if (!decision.admitted) told.push(`503, again in ${decision.retryAfterSeconds} s: ${decision.reason}`);
  else decision.succeed(); // or drop, abandon, ignore: once it is over
  // #endregion
  expect(told).toEqual([]);
});
