import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { runPlimsoll, type Ended } from '../fixtures/run-plimsoll.ts';
import { createApp, type App, type Plan } from 'plimsoll';
import { showSaga } from 'plimsoll/saga';

let server: TestDatabase;
let folder: string;
let app: App;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  folder = await mkdtemp(join(import.meta.dirname, '.sagas-'));
  const file = join(folder, 'plimsoll.plan.ts');
  await writeFile(file, planText);
  const { default: plan } = (await import(file)) as { default: Plan };
  app = createApp(plan, { databaseUrl: server.url, listen: false });
  await app.start();
});
afterAll(async () => {
  await app.stop();
  await server.drop();
  await rm(folder, { recursive: true, force: true });
});

/** A saga that waits for an approval, and one whose step fails until somebody does it by hand. */
const planText = `
import { command, contract, module, plan, saga } from 'plimsoll';
import { z } from 'zod';
const trips = contract('trips', {
  go: command({ input: z.object({ id: z.string(), broken: z.boolean() }) }),
  book: command({ input: z.object({ broken: z.boolean() }), output: z.object({ seat: z.string() }) }),
  unbook: command({ input: z.object({}) }),
});
const trip = saga({ input: trips.go.input, uses: [trips] }, async (run, { broken }) => {
  const { seat } = await run.step('book', trips.book, { broken }, {
    maxAttempts: 1, compensate: () => [trips.unbook, {}],
  });
  const { decision } = await run.approval('expensive');
  if (decision !== 'approved') throw run.fail('NotApproved');
  return seat;
});
const tripsModule = module(trips, {
  owns: { schema: 'trips' },
  sagas: { trip },
  commands: {
    async go(input, { start }) { start(trip, input, { id: input.id }); },
    async book({ broken }) { if (broken) throw new Error('the airline is away'); return { seat: '7A' }; },
    async unbook() {},
  },
});
export default plan({
  name: 'sagas-test', modules: [tripsModule], expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 1000, errorRate: 0.01 } },
});
`;

const sagas = (...args: readonly string[]): Promise<Ended> =>
  runPlimsoll(['sagas', ...args], { cwd: folder, databaseUrl: server.url });

async function go(id: string, broken: boolean, until: string): Promise<void> {
  const { default: plan } = (await import(join(folder, 'plimsoll.plan.ts'))) as { default: Plan };
  const contract = plan.modules[0]!.contract as unknown as { go: Parameters<App['call']>[0] };
  await app.call(contract.go, { id, broken } as never);
  await expect
    .poll(async () => (await showSaga(app.database, `trips.trip/${id}`)).state, { timeout: 10_000 })
    .toBe(until);
}

test('sagas are listed, shown, approved and rejected, with who and why', { timeout: 60_000 }, async () => {
  await go('1', false, 'waiting');
  await go('2', false, 'waiting');
  const listed = await sagas('list', '--state', 'waiting');
  expect(listed).toMatchObject({ code: 0, err: '' });
  expect(listed.out).toMatch(/^saga +v +state +at +started \(UTC\)/);
  expect(listed.out).toMatch(/^trips\.trip\/1 +1 +waiting +approval expensive/m);

  expect(await sagas('approve', 'trips.trip/1')).toMatchObject({
    code: 2,
    err: expect.stringContaining('--why is missing'),
  });
  const approved = await sagas('approve', 'trips.trip/1', '--who', 'ada', '--why', 'a good customer');
  expect(approved).toMatchObject({ code: 0, err: '' });
  expect(await sagas('reject', 'trips.trip/2', '--who', 'ada', '--why', 'too much')).toMatchObject({
    code: 0,
  });
  const stateOf = async (id: string): Promise<string> =>
    (await showSaga(app.database, `trips.trip/${id}`)).state;
  await expect.poll(() => stateOf('1'), { timeout: 10_000 }).toBe('done');
  await expect.poll(() => stateOf('2'), { timeout: 10_000 }).toBe('compensated');

  const shown = await sagas('show', 'trips.trip/1');
  expect(shown.out).toMatch(/^state +done$/m);
  expect(shown.out).toMatch(/2 +arrived +expensive +by ada: a good customer$/m);
  expect(await sagas('show', 'trips.trip/3')).toMatchObject({
    code: 1,
    err: expect.stringContaining('there is no saga "trips.trip/3"'),
  });
  expect(await sagas('approve', 'trips.trip/1', '--why', 'again')).toMatchObject({
    code: 1,
    err: expect.stringContaining('it has ended'),
  });
});

test('one that is stuck goes on as if its step were done by hand', { timeout: 60_000 }, async () => {
  await go('9', true, 'stuck');
  const stuck = await sagas('list', '--state', 'stuck', '--json');
  expect(JSON.parse(stuck.out)).toMatchObject([
    { id: 'trips.trip/9', trouble: { message: expect.stringContaining('the airline is away') } },
  ]);
  expect(await sagas('resume', 'trips.trip/9', '--why', 'x', '--result', '{')).toMatchObject({ code: 2 });
  const resumed = await sagas(
    'resume',
    'trips.trip/9',
    '--step',
    'book',
    '--result',
    '{"seat":"9C"}',
    '--why',
    'booked by phone',
  );
  expect(resumed).toMatchObject({ code: 0, err: '' });
  const state = async (): Promise<string> => (await showSaga(app.database, 'trips.trip/9')).state;
  await expect.poll(state, { timeout: 10_000 }).toBe('waiting');
  await sagas('cancel', 'trips.trip/9', '--why', 'enough');
  await expect.poll(state, { timeout: 10_000 }).toBe('compensated');
});
