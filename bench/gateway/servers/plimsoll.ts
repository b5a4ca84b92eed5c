import { contract, createApp, module, plan, query, route, sql } from 'plimsoll';
import { createLogger } from 'plimsoll/telemetry';
import { Hello, ready, Three } from './serve.ts';

const shop = contract('bench', { hello: query(Hello), three: query(Three) });
const shopModule = module(shop, {
  owns: { schema: 'bench' },
  queries: {
    hello: async ({ name }) => ({ hello: name }),
    async three({ id }, { db }) {
      type Item = { id: number; name: string; val: number };
      const item = await db.one<Item>(sql`select id, name, val from bench.item where id = ${id}`);
      const next = await db.one<Item>(sql`select id, name, val from bench.item where id = ${id + 1}`);
      const { sum } = await db.one<{ sum: number }>(
        sql`select sum(val)::int as sum from bench.item where id between ${id} and ${id} + 10`,
      );
      return { item, next, sum };
    },
  },
});
const app = createApp(
  plan({
    name: 'bench',
    modules: [shopModule],
    http: { port: 0, routes: [route('/hello', shop.hello), route('/three', shop.three)] },
    expectedPeak: { requestsPerSecond: 1 },
    objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
  }),
  { databaseUrl: process.env['DATABASE_URL'] ?? '', logger: createLogger({ name: 'bench' }) },
);
await app.start();
ready(app.url);
