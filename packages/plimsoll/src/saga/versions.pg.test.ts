import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { z } from 'zod';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { command, contract } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { createDatabase } from '../database/database.ts';
import { approveSaga } from './decisions.ts';
import { listSagas } from './read.ts';
import { saga, type Saga } from './saga.ts';

const input = z.object({ id: z.string() });
const parcels = contract('parcels', {
  send: command({ input }),
  pack: command({ input }),
  wrap: command({ input }),
  unpack: command({ input }),
});
const done: string[] = [];

// #region versions
const packingV1 = saga({ version: 1, input, uses: [parcels] }, async (run, { id }) => {
  await run.step('pack', parcels.pack, { id }, { compensate: () => [parcels.unpack, { id }] });
  await run.approval('send');
});
const packing = saga({ version: 2, input, uses: [parcels], previous: [packingV1] }, async (run, { id }) => {
  await run.step('wrap', parcels.wrap, { id });
  await run.step('pack', parcels.pack, { id }, { compensate: () => [parcels.unpack, { id }] });
  await run.approval('send');
});
// #endregion

let server: TestDatabase;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
});
afterAll(() => server.drop());

async function start(code: Saga<typeof input, unknown, 'parcels'>): Promise<App> {
  const parcelsModule = module(parcels, {
    owns: { schema: 'parcels' },
    commands: {
      async send(given, context) {
        context.start(code, given, { id: given.id });
      },
      pack: async ({ id }) => void done.push(`pack ${id}`),
      wrap: async ({ id }) => void done.push(`wrap ${id}`),
      unpack: async ({ id }) => void done.push(`unpack ${id}`),
    },
    sagas: { packing: code },
  });
  const app = createApp(
    plan({
      name: 'parcels',
      modules: [parcelsModule],
      worker: { pollMs: 20 },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0.01 } },
    }),
    { databaseUrl: server.url, listen: false },
  );
  await app.start();
  return app;
}

test('workers of both versions side by side: each saga ends with the code that it began with', async () => {
  await using database = createDatabase({ url: server.url, pool: { max: 2 } });
  const waiting = async (): Promise<string[]> =>
    (await listSagas(database, { state: 'waiting' })).map(({ id, version }) => `${id} ${version}`);
  const by = { who: 'ada', why: 'it is paid' };
  {
    await using old = await start(packingV1);
    await old.call(parcels.send, { id: 'a' });
    await expect.poll(waiting, { timeout: 10_000 }).toEqual(['parcels.packing/a 1']);
    // A deployment: both run, and either may be asked.
    await using newer = await start(packing);
    await newer.call(parcels.send, { id: 'b' });
    await old.call(parcels.send, { id: 'c' });
    await expect
      .poll(async () => (await waiting()).toSorted(), { timeout: 10_000 })
      .toEqual(['parcels.packing/a 1', 'parcels.packing/b 2', 'parcels.packing/c 1']);
  }
  expect(done.toSorted()).toEqual(['pack a', 'pack b', 'pack c', 'wrap b']);
  // The old workers are gone; the new code has their version too.
  await using newer = await start(packing);
  for (const id of ['a', 'b', 'c']) await approveSaga(database, `parcels.packing/${id}`, by);
  await expect
    .poll(async () => (await listSagas(newer.database)).map(({ state }) => state), { timeout: 10_000 })
    .toEqual(['done', 'done', 'done']);
  expect(done).toHaveLength(4);
});
