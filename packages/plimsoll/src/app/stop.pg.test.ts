import { createTestDatabase } from '@plimsoll/embedded';
import { z } from 'zod';
import { expect, inject, test } from 'vitest';
import { contract, createApp, module, plan, query } from '../index.ts';
import { httpRequests } from '../kernel/channels.ts';

const empty = contract('empty', { see: query({ input: z.object({}), output: z.object({}) }) });
const thePlan = plan({
  name: 'stopping',
  modules: [module(empty, { owns: { schema: 'empty' }, queries: { see: async () => ({}) } })],
  http: { port: 0 },
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 1, errorRate: 0 } },
});

test('a piece that cannot stop is reported and does not leave the others running', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const app = createApp(thePlan, { databaseUrl: server.url });
  await app.start();
  const { database, url } = app;
  const close = database.close.bind(database);
  Object.assign(database, { close: () => Promise.reject(new Error('cannot close')) });
  await expect(app.stop()).rejects.toMatchObject({
    code: 'PL_LIFECYCLE',
    message: expect.stringContaining('cannot close') as string,
  });
  expect(app.state).toBe('stopped');
  expect(httpRequests.hasSubscribers).toBe(false);
  await expect(fetch(url)).rejects.toThrow();
  await close();
  await server.drop();
});
