import { afterEach, expect, inject, test, vi } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
import { contract, createApp, module, plan, sql, type Plan } from '../index.ts';

const planOf = (database?: { readonly url: string }): Plan =>
  plan({
    name: 'small',
    modules: [module(contract('small', {}), { owns: { schema: 'small' } })],
    ...(database === undefined ? {} : { database }),
    expectedPeak: { requestsPerSecond: 1 },
    objectives: { default: { p95Ms: 100, errorRate: 0.01 } },
  });

afterEach(() => vi.unstubAllEnvs());

test('an undefined databaseUrl leaves it to the plan, and DATABASE_URL is never read', async () => {
  const server = await createTestDatabase(inject('cluster'));
  try {
    vi.stubEnv('DATABASE_URL', server.url);
    const databaseUrl = process.env['NO_SUCH_VARIABLE'];
    await using app = createApp(planOf({ url: server.url }), { databaseUrl, listen: false });
    await app.start();
    expect(await app.database.one(sql`select 1 as one`)).toEqual({ one: 1 });
    const without = createApp(planOf(), { databaseUrl, listen: false });
    await expect(without.start()).rejects.toMatchObject({ code: 'PL_CONFIG' });
  } finally {
    await server.drop();
  }
});
