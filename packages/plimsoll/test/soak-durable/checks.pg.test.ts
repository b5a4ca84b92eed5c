import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, plan } from 'plimsoll';
import { afterAll, beforeAll, expect, inject, onTestFinished, test, vi } from 'vitest';
import { seededRandom } from '../../src/testing/causality/random.ts';
import { askAt } from './ask.ts';
import { startBank } from './bank.ts';
import { brokenPromises, unfinished } from './checks.ts';
import { soakModule } from './modules.ts';
import type { Servers } from './servers.ts';

const at = (url: string): Pick<Servers, 'ask'> => ({ ask: (text, values) => askAt(url, text, values) });

/** By order, those of a bank that was asked under one key each. */
const oneKeyEach = new Map([1, 2, 3].map((id) => [id, new Set([`key-${id}`])]));
const accepted = new Set([1, 2, 3]);

/** Three orders that were done as promised; the third was refused. */
let finished: TestDatabase;
beforeAll(async () => {
  finished = await createTestDatabase(inject('cluster'));
  await using bank = await startBank(seededRandom(1));
  const { contract, module } = soakModule(1, bank.url);
  const app = createApp(
    plan({
      name: 'checks',
      modules: [module],
      worker: { pollMs: 10, backoff: { baseMs: 10, maxMs: 50 } },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
    }),
    { databaseUrl: finished.url, listen: false },
  );
  await app.start();
  try {
    for (const id of accepted)
      await app.call(contract.place, {
        id,
        account: 1,
        pence: 100 * id,
        poison: false,
        refused: id === 3,
        slowMs: 0,
      });
    await vi.waitFor(
      async () =>
        expect(await unfinished(at(finished.url))).toEqual({ outbox: 0, tasks: 0, parked: 0, behind: 0 }),
      { timeout: 30_000 },
    );
  } finally {
    await app.stop();
  }
});
afterAll(() => finished?.drop());

const broken = (keys: ReadonlyMap<number, ReadonlySet<string>> = oneKeyEach, orders = accepted) =>
  brokenPromises(at(finished.url), { keys }, orders);

test('what was done as promised breaks none', async () => {
  expect(await broken()).toEqual([]);
});

test('money taken twice, and an order that is not there, are seen', async () => {
  expect(await broken(new Map([[2, new Set(['one', 'other'])]]))).toEqual([
    'the bank was asked to charge order 2 under 2 keys',
  ]);
  expect(await broken(oneKeyEach, new Set([1, 4]))).toEqual(['order 4 was accepted and is not there']);
});

test.each([
  ['insert into soak.charged values (1, $$b9$$)', 'order 1 was charged 2 times'],
  ['delete from soak.shipped where order_id = 2', 'order 2 was shipped 0 times'],
  ['insert into soak.shipped values (7)', 'order 7 does not exist and was shipped'],
  ['delete from soak.checked where order_id = 1', 'order 1 was checked 0 times'],
  ['delete from soak.noted where order_id = 2', 'order 2 was noted 0 times'],
  [
    'update soak.noted set seq = case seq when 1 then 2 else 1 end where seq < 3',
    'account 1: order number 2 was noted after number 0',
  ],
  [
    'delete from soak.reserved where change = -1',
    'the saga of order 3 is compensated: reserved 1, released 0, booked 0 times',
  ],
  [
    'insert into soak.booked values (1)',
    'the saga of order 1 is done: reserved 1, released 0, booked 2 times',
  ],
  [
    `update plimsoll.saga set state = 'running' where id = 'soak.checkout/1'`,
    'the saga of order 1 is running: reserved 1, released 0, booked 1 times',
  ],
  ['delete from plimsoll.event where position = 1', 'the log has 2 events and ends at position 3'],
  [
    `update plimsoll.event set payload = payload || '{"seq": 9}' where position = 2`,
    'the events of account 1 are not in the order of their commits',
  ],
  [`update soak.totals set pence = pence + 1`, 'the totals of account 1 are not those of its orders'],
])('%s is seen', async (plant, sentence) => {
  const planted = await createTestDatabase({ ...inject('cluster'), template: finished.name });
  onTestFinished(() => planted.drop());
  await askAt(planted.url, plant);
  expect(await brokenPromises(at(planted.url), { keys: oneKeyEach }, accepted)).toContain(sentence);
});
