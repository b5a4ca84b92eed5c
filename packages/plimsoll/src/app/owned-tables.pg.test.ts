import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
import { contract, createApp, module, plan } from '../index.ts';
import { createDatabase } from '../database/database.ts';
import { sql } from '../database/sql.ts';

test('the start fails with every listed table that is not there, and leaves nothing open', async () => {
  const server = await createTestDatabase(inject('cluster'));
  try {
    await using database = createDatabase({ url: server.url });
    await database.execute(sql`create table public.orders (id int primary key)`);
    await database.execute(sql`create table public."Order Lines" (id int primary key)`);
    await database.execute(sql`create view public.recent as select * from public.orders`);
    const owning = (...tables: readonly string[]): ReturnType<typeof createApp> =>
      createApp(
        plan({
          name: 'adopting',
          modules: [module(contract('orders', {}), { owns: { tables } })],
          expectedPeak: { requestsPerSecond: 1 },
          objectives: { default: { p95Ms: 100, errorRate: 0.01 } },
        }),
        { databaseUrl: server.url, listen: false },
      );

    await using sound = owning('public.orders', 'public.Order Lines', 'public.recent');
    await sound.start();

    await using misspelt = owning('public.order', 'public.orders', 'sales.orders');
    await expect(misspelt.start()).rejects.toMatchObject({
      code: 'PL_CONFIG',
      data: {
        problems: [
          {
            path: 'modules.orders.owns.tables.0',
            message: expect.stringContaining('no table public.order '),
          },
          {
            path: 'modules.orders.owns.tables.2',
            message: expect.stringContaining('no table sales.orders '),
          },
        ],
      },
    });
  } finally {
    await server.drop();
  }
});
