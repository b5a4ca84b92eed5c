import { createTestDatabase } from '@plimsoll/embedded';
import { expect, inject, test } from 'vitest';
import { z } from 'zod';
import { contract, createApp, module, plan, query, route } from '../index.ts';
import { byClientIp } from '../rate-limit/client-key.ts';

const nothing = z.object({});
const pages = contract('pages', { see: query({ input: nothing, output: nothing }) });
const pagesModule = module(pages, { owns: { schema: 'pages' }, queries: { see: () => Promise.resolve({}) } });

const thePlan = plan({
  name: 'limited',
  modules: [pagesModule],
  http: {
    port: 0,
    routes: [route('/pages', pages.see)],
    rateLimit: {
      rules: [{ kind: 'rate', name: 'client', limit: 3, perMs: 3_600_000, key: byClientIp() }],
      store: 'database',
      whenStoreFails: 'closed',
      // A loaded machine may take longer, and this is not about that.
      storeTimeoutMs: 10_000,
    },
  },
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 100, errorRate: 0 } },
});

test('two processes count the requests of a client together, on connections of their own', async () => {
  const database = await createTestDatabase(inject('cluster'));
  const apps = [1, 2].map(() => createApp(thePlan, { databaseUrl: database.url }));
  try {
    for (const app of apps) await app.start();
    const statuses: number[] = [];
    for (let request = 0; request < 6; request += 1)
      statuses.push((await fetch(`${apps[request % 2]?.url}/pages`)).status);
    expect(statuses).toEqual([200, 200, 200, 429, 429, 429]);
  } finally {
    await Promise.all(apps.map((app) => app.stop()));
    // Fails while a connection is left.
    await database.drop();
  }
});
