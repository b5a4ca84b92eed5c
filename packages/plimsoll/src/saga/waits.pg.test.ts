import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { z } from 'zod';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { sql } from '../database/sql.ts';
import { command, contract, event } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { stress } from '../testing/stress.ts';
import { saga } from './saga.ts';
import { createEventFollower } from './wait-events.ts';

const note = z.object({ id: z.string(), n: z.int() });
const radio = contract('radio', {
  listen: command({ input: note }),
  say: command({ input: note }),
  said: event({ payload: note, key: ({ id }) => id }),
});

const listening = saga({ version: 1, input: note, uses: [radio] }, async (run, { id }) => {
  const first = await run.waitFor('first', radio.said, { key: id });
  const rest = await run.all({
    same: (branch) => branch.waitFor('second', radio.said, { key: id }),
    napping: async (branch) => {
      await branch.sleep('a nap', 5);
      return branch.waitFor('second', radio.said, { key: id });
    },
  });
  return [first.n, rest.same.n, rest.napping.n];
});

const radioModule = module(radio, {
  owns: { schema: 'radio' },
  commands: {
    async listen(input, { start, emit }) {
      start(listening, input, { id: input.id });
      // Published with the start: it is after it.
      if (input.n === 1) emit(radio.said, input);
    },
    async say(input, { emit }) {
      emit(radio.said, input);
    },
  },
  sagas: { listening },
});

let server: TestDatabase;
let apps: readonly App[] = [];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  const app = (): App =>
    createApp(
      plan({
        name: 'radio',
        modules: [radioModule],
        worker: { pollMs: 20 },
        expectedPeak: { requestsPerSecond: 1 },
        objectives: { default: { p95Ms: 1_000, errorRate: 0.01 } },
      }),
      { databaseUrl: server.url, listen: false },
    );
  apps = [app(), app()];
  for (const each of apps) await each.start();
});
afterAll(async () => {
  for (const app of apps) await app.stop();
  await server.drop();
});

test('two processes, and events about their sagas all the while: each wait sees its own, and in order', async () => {
  const [one, other] = apps;
  const ids = Array.from({ length: 30 }, (_, index) => String(index));
  await Promise.all(
    ids.map(async (id, index) => {
      await one!.call(radio.listen, { id, n: index % 2 });
      // What comes before, at and after the moment of waiting.
      if (index % 2 === 0) await other!.call(radio.say, { id, n: 1 });
      await (index % 3 === 0 ? one! : other!).call(radio.say, { id, n: 2 });
    }),
  );
  const ended = sql`
    select s.state, s.result->'value' as heard, count(*)::int as n from plimsoll.saga s group by 1, 2`;
  await expect
    .poll(() => one!.database.query(ended), { timeout: 30_000 })
    .toEqual([{ state: 'done', heard: [1, 2, 2], n: ids.length }]);
  expect(await one!.database.query(sql`select * from plimsoll.saga_wait`)).toEqual([]);
});

test('the follower can be started and stopped in every way', async () => {
  await stress(createEventFollower({ database: apps[0]!.database }));
});
