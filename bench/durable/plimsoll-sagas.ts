/** Three steps with a write each, each in a transaction of its module, by an app in a process of its own. */
import { subscribe } from 'node:diagnostics_channel';
import { command, contract, createApp, module, plan, saga, sql } from 'plimsoll';
import { z } from 'zod';
import { measureSagas } from './saga-load.ts';

const [url = ''] = process.argv.slice(2);
const input = z.object({ n: z.int() });
const shop = contract('shop', {
  begin: command({ input }),
  reserve: command({ input }),
  charge: command({ input }),
  ship: command({ input }),
});
const checkout = saga({ input, uses: [shop] }, async (run, given) => {
  await run.step('reserve', shop.reserve, given);
  await run.step('charge', shop.charge, given);
  await run.step('ship', shop.ship, given);
});
const write = async (
  { n }: { n: number },
  { tx }: { tx: { execute: (statement: ReturnType<typeof sql>) => Promise<number> } },
): Promise<void> => void (await tx.execute(sql`insert into public.effect (n) values (${n})`));
const shopModule = module(shop, {
  owns: { tables: ['public.effect'] },
  sagas: { checkout },
  commands: {
    async begin(given, { start }) {
      start(checkout, given, { id: String(given.n) });
    },
    reserve: write,
    charge: write,
    ship: write,
  },
});
const app = createApp(
  plan({
    name: 'bench',
    modules: [shopModule],
    database: { pool: { max: 20 } },
    worker: { concurrency: 64 },
    expectedPeak: { requestsPerSecond: 1 },
    objectives: { default: { p95Ms: 100, errorRate: 0 } },
  }),
  { databaseUrl: url, listen: false },
);
await app.start();

const waiting = new Map<string, () => void>();
subscribe('plimsoll:saga', (message) => {
  const { id, state } = message as { readonly id: string; readonly state: string };
  if (state !== 'done') return;
  waiting.get(id)?.();
  waiting.delete(id);
});
await measureSagas(async (n) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  waiting.set(`shop.checkout/${n}`, resolve);
  await app.call(shop.begin, { n });
  await promise;
});
await app.stop();
