import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest';
import { createApp, createContext, runInContext, sql, type App, type Plan } from 'plimsoll';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { events } from './events.ts';

const bin = join(import.meta.dirname, '../../bin/plimsoll.js');

/** Orders of people; packing an order of the customer `bad` fails. */
const planFile = `
import { command, contract, event, module, plan, sql } from 'plimsoll';
import { z } from 'zod';
const order = z.object({ orderId: z.string(), customer: z.string(), email: z.string() });
const shop = contract('shop', {
  order: command({ input: order }),
  ordered: event({
    payload: order,
    key: ({ orderId }) => orderId,
    personal: { subject: ({ customer }) => customer, erase: (payload) => ({ ...payload, email: 'erased' }) },
  }),
});
const shopModule = module(shop, {
  owns: { schema: 'shop', migrations: new URL('./migrations/', import.meta.url) },
  commands: { async order(input, { emit }) { emit(shop.ordered, input); } },
  on: (on) => [
    on(shop.ordered, { name: 'pack', maxAttempts: 1 }, async ({ orderId, customer }, { tx, delivery }) => {
      if (customer === 'bad') throw new Error('this customer cannot be packed for');
      await tx.execute(sql\`insert into shop.packed values (\${orderId}, \${delivery.replay ?? null})\`);
    }),
  ],
});
export default plan({
  name: 'events-test', modules: [shopModule], database: { url: DATABASE_URL }, worker: { pollMs: 20 },
  expectedPeak: { requestsPerSecond: 1 }, objectives: { default: { p95Ms: 1000, errorRate: 0 } },
});
export const order_ = shop.order;
`;

let server: TestDatabase;
let folder: string;
let app: App;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  const scratch = join(import.meta.dirname, '../../.plimsoll');
  await mkdir(scratch, { recursive: true });
  // Inside the checkout, so that the plan finds its packages.
  folder = await mkdtemp(join(scratch, 'events-'));
  await mkdir(join(folder, 'migrations'));
  await writeFile(
    join(folder, 'migrations/001_shop.sql'),
    'create schema shop; create table shop.packed (order_id text not null, replay bigint);',
  );
  await writeFile(
    join(folder, 'plimsoll.plan.ts'),
    planFile.replace('DATABASE_URL', JSON.stringify(server.url)),
  );
  const { default: plan, order_ } = (await import(pathToFileURL(join(folder, 'plimsoll.plan.ts')).href)) as {
    default: Plan;
    order_: Parameters<App['call']>[0];
  };
  app = createApp(plan, { databaseUrl: server.url, listen: false });
  await app.start();
  for (const [orderId, customer] of [
    ['1', 'ada'],
    ['2', 'bad'],
    ['3', 'ada'],
  ]) {
    const context = createContext({ correlationId: `request-${orderId}`, caller: { principal: 'web' } });
    const email = `${customer}@example.com`;
    await runInContext(context, () => app.call(order_, { orderId, customer, email } as never));
  }
  await vi.waitFor(async () => expect(await app.taskCounts()).toMatchObject(settled), { timeout: 10_000 });
});
afterAll(async () => {
  await app.stop();
  await server.drop();
  await rm(folder, { recursive: true, force: true });
});

const settled = { outbox: 0, ready: 0, running: 0 };

/** The command in this process; one that is spawned takes seconds. */
async function run(
  name: string,
  ...args: readonly string[]
): Promise<{ code: number; out: string; err: string }> {
  const command = events.commands[name]!;
  const options = Object.fromEntries(
    Object.entries(command.options).map(([option, { value }]) => [
      option,
      { type: value === undefined ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
  const [out, err] = [captured(process.stdout), captured(process.stderr)];
  try {
    const code = await command.run({ ...values, plan: join(folder, 'plimsoll.plan.ts') }, positionals[0]);
    return { code, out: out.end(), err: err.end() };
  } finally {
    out.end();
    err.end();
  }
}

function captured(stream: NodeJS.WriteStream): { readonly end: () => string } {
  const write = vi.spyOn(stream, 'write').mockReturnValue(true);
  return {
    end() {
      const text = write.mock.calls.map(([chunk]) => String(chunk)).join('');
      write.mockRestore();
      return text;
    },
  };
}

const json = async (name: string, ...args: readonly string[]): Promise<unknown> => {
  const { code, out, err } = await run(name, ...args, '--json');
  expect({ code, err }).toMatchObject({ code: 0 });
  return JSON.parse(out);
};
const packed = (): Promise<unknown[]> =>
  app.database.query(sql`select order_id, replay from shop.packed order by order_id, replay nulls first`);

test('list, show, trace and lag tell what happened', async () => {
  const listed = await run('list', '--key', '1');
  expect(listed.out).toMatch(
    /position +emitted at +type +key +request +payload\n +1 .* shop\.ordered +1 +request-1 /,
  );
  expect(await json('list', '--limit', '2')).toMatchObject([{ position: 3 }, { position: 2, key: '2' }]);
  expect((await run('list', '--key', 'nobody')).out).toBe('no event of the log matches\n');

  const shown = await run('show', '1');
  expect(shown.out).toContain('correlationId request-1');
  expect(shown.out).toContain('"email": "ada@example.com"');

  const traced = await run('trace', '--key', '1');
  expect(traced.out).toMatch(
    /request {2}request-1 {2}done\n└─ .* event {2}shop\.ordered {2}logged {2}position 1 .*\n {3}└─ .* delivery {2}shop\.pack {2}done\n/,
  );
  expect((await run('lag')).out).toMatch(/shop\.pack +shop\.ordered +0 +0 +1 +0\n/);
});

test('a replay has its effect once more, and says who asked', async () => {
  const of = ['--subscription', 'shop.pack', '--key', '3'];
  expect(await json('replay', ...of, '--dry-run')).toEqual({ subscription: 'shop.pack', events: 1 });
  expect(await packed()).toHaveLength(2);
  const ran = await run('replay', ...of, '--why', 'the parcel was lost', '--by', 'grace');
  expect(ran).toMatchObject({ code: 0, out: 'replay 1: 1 events delivered to shop.pack again\n' });
  await expect.poll(packed, { timeout: 10_000 }).toEqual([
    { order_id: '1', replay: null },
    { order_id: '3', replay: null },
    { order_id: '3', replay: 1 },
  ]);
  expect(await json('replays')).toMatchObject([
    { id: 1, by: 'grace', why: 'the parcel was lost', delivered: 1 },
  ]);
  expect((await run('stop', '1')).out).toBe('replay 1 had ended already\n');
});

test('parked deliveries are listed, tried again, and skipped with a reason', async () => {
  const [parked] = (await json('parked')) as { id: string }[];
  expect(parked).toMatchObject({
    subscription: 'shop.pack',
    key: '2',
    error: 'this customer cannot be packed for',
  });
  expect((await run('retry', '--task', parked!.id)).out).toBe('1 parked deliveries are tried again\n');
  await expect.poll(() => app.taskCounts(), { timeout: 10_000 }).toMatchObject({ ...settled, parked: 1 });
  const why = ['--why', 'they moved away', '--by', 'grace'];
  expect(await json('skip', '--key', '2', ...why)).toEqual({ skipped: 1 });
  expect((await run('parked')).out).toBe('no delivery is parked\n');
  expect((await run('trace', '--key', '2')).out).toMatch(/skipped .*they moved away/);
});

test('erase takes the data of a person out', async () => {
  const erased = await run('erase', '--subject', 'ada', '--why', 'article 17');
  expect(erased).toMatchObject({ code: 0 });
  expect(erased.out).toBe(
    'of ada are without personal data now: 2 events, 0 deliveries, 0 jobs, 0 sagas; 0 recorded answers are gone\n',
  );
  expect((await run('list')).out).not.toContain('ada@example.com');
});

test.each<[string, string, readonly string[], string]>([
  ['no position', 'show', [], 'nothing is named: give the position'],
  ['no number', 'show', ['first'], '"first" is no number: give the position'],
  ['a position that is not there', 'show', ['99'], 'no event at position 99'],
  ['a time that is none', 'list', ['--since', 'noon'], '--since is "noon"; want a time such as'],
  ['nothing to trace by', 'trace', [], 'give --key <key>, --request <id> or --position'],
  ['no subscription', 'replay', [], '--subscription is missing: give'],
  ['no reason', 'replay', ['--subscription', 'shop.pack'], '--why is missing: give'],
  ['a task that is none', 'retry', ['--task', '7'], '--task is "7"; want the id of a task'],
  ['skipping without choosing', 'skip', ['--why', 'x'], '--key <key> or --all; plimsoll events parked'],
])('%s is a mistake in the command line, and says what to do', async (_what, name, args, message) => {
  await expect(run(name, ...args)).rejects.toMatchObject({
    name: 'UsageError',
    message: expect.stringContaining(message) as string,
  });
});

test('as a process: what it says goes to standard output, a failure to standard error, each with its exit code', async () => {
  const spawned = async (...args: readonly string[]): Promise<unknown> => {
    const child = spawn(process.execPath, [bin, 'events', ...args], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const closed = once(child, 'close');
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
    const [code] = (await closed) as [number];
    return { code, out, err };
  };
  const [listed, unknown] = await Promise.all([
    spawned('list', '--json', '--key', '2'),
    spawned('replay', '--subscription', 'shop.nope', '--why', 'x'),
  ]);
  expect(listed).toEqual({
    code: 0,
    out: expect.stringMatching(/^\[\n {2}\{\n {4}"position": 2,/) as string,
    err: '',
  });
  expect(unknown).toEqual({
    code: 1,
    out: '',
    err: expect.stringContaining('recorded are shop.pack') as string,
  });
});
