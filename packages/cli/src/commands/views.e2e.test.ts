import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, sql, type Database } from 'plimsoll/database';

import { extendLog } from 'plimsoll/outbox';
import type { CommandGroup } from '../command.ts';
import { migrate } from './migrate.ts';
import { views } from './views.ts';

const bin = path.join(import.meta.dirname, '../../bin/plimsoll.js');
let server: TestDatabase;
let database: Database;
let folder: string;

/** The factor is what a version changes. */
const plan = (...versions: readonly number[]): string => `
import { contract, event, module, plan, view } from 'plimsoll';
const payload = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } };
const stock = contract('stock', { received: event({ payload }) });
const levels = (version) => view('levels', {
  version,
  key: { sku: 'text' },
  columns: { count: 'int' },
  initial: { count: 0 },
  fold: (on) => [on(stock.received, ({ sku }) => ({ sku }), (state, { count }) => ({ count: state.count + version * count }))],
});
export default plan({
  name: 'levels',
  modules: [module(stock, { owns: { schema: 'stock' }, views: [${versions.map((each) => `levels(${each})`).join(', ')}] })],
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 100, errorRate: 0.01 } },
});
`;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  vi.stubEnv('DATABASE_URL', server.url);
  vi.stubEnv('DATABASE_REPLICA_URLS', '');
  database = createDatabase({ url: server.url });
  // Inside the checkout, so that the plan finds its packages.
  const scratch = path.join(import.meta.dirname, '../../.plimsoll');
  await mkdir(scratch, { recursive: true });
  folder = await mkdtemp(path.join(scratch, 'views-'));
  await writeFile(path.join(folder, 'one.plan.ts'), plan(1));
  await writeFile(path.join(folder, 'two.plan.ts'), plan(1, 2));
  await said(() => migrate.run({ plan: path.join(folder, 'one.plan.ts') }, undefined));
  await database.transaction((tx) => extendLog(tx, 20_000));
  await database.execute(sql`
    insert into plimsoll.event (position, id, type, version, at, correlation_id, caller, payload)
    select n, n, 'stock.received', 1, now(), 'c', '{}', jsonb_build_object('sku', 'a', 'count', 1)
    from generate_series(1, 20000) as n`);
  await database.execute(sql`update plimsoll.sequencer set position = 20000`);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
  await database.close();
  await server.drop();
});

/** What a command prints, with its exit code. */
async function said(run: () => Promise<number>): Promise<{ code: number; out: string }> {
  let out = '';
  const written = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    out += String(chunk);
    return true;
  });
  try {
    return { code: await run(), out };
  } finally {
    written.mockRestore();
  }
}
const command = (
  name: keyof CommandGroup['commands'],
  argument?: string,
  values: Readonly<Record<string, string | boolean>> = {},
): Promise<{ code: number; out: string }> =>
  said(() =>
    (views.commands[name] as (typeof views.commands)['list'] & object).run(
      { plan: path.join(folder, 'one.plan.ts'), ...values },
      argument,
    ),
  );
const two = (): { plan: string } => ({ plan: path.join(folder, 'two.plan.ts') });
const answer = async (...of: Parameters<typeof command>): Promise<unknown> => {
  const [name, argument, values] = of;
  return JSON.parse((await command(name, argument, { ...values, json: true })).out) as unknown;
};
const rows = (): Promise<unknown> => database.query(sql`select * from stock.levels`);

test('a view is listed, shown, built anew, switched to and dropped', async () => {
  expect((await command('list')).out).toMatch(
    /^view +version  state  position  behind +lag +table\nstock\.levels +1  live +0 +20000 .* levels_v1\n$/,
  );
  expect((await command('rebuild', 'stock.levels', { rest: '0' })).out).toMatch(
    /^levels_v1_2 is live: 20,000 events in [\d.]+ s\n$/,
  );
  expect(await answer('list')).toMatchObject([
    { table: 'levels_v1', state: 'retired' },
    { table: 'levels_v1_2', state: 'live', position: 20_000, behind: 0 },
  ]);
  expect(await rows()).toEqual([{ sku: 'a', count: 20_000 }]);

  expect((await command('rebuild', 'stock.levels', { ...two(), 'no-wait': true })).out).toMatch(
    /^levels_v2 is being built/,
  );
  expect((await command('list', undefined, two())).out).toMatch(
    /^stock\.levels version 2: 0 of 20,000 events \(0 %\), 0\/s, \? left$/m,
  );
  expect(await answer('rebuild', 'stock.levels', { ...two(), 'no-switch': true })).toMatchObject({
    table: 'levels_v2',
    state: 'building',
    position: 20_000,
  });
  expect((await command('show', 'stock.levels', two())).out).toMatch(
    /levels_v2\nstock\.levels version 2: 20,000 of 20,000 events \(100 %\), [\d,]+\/s, 0\.0 s left\n\nversion 1: key sku text; count int; made from stock\.received; history: keep\nversion 2: /,
  );
  expect(await rows()).toEqual([{ sku: 'a', count: 20_000 }]);
  expect(await command('switch', 'stock.levels', two())).toEqual({
    code: 0,
    out: 'stock.levels shows levels_v2\n',
  });
  expect(await command('switch', 'stock.levels', two())).toEqual({
    code: 3,
    out: 'no table of stock.levels is being built\n',
  });
  expect(await rows()).toEqual([{ sku: 'a', count: 40_000 }]);
  expect(await answer('drop', 'stock.levels')).toEqual({ dropped: ['levels_v1', 'levels_v1_2'] });
  expect((await command('drop', 'stock.levels')).out).toBe('nothing to drop\n');
});

test('what is wrong with the command line is said, with what would be right', async () => {
  await expect(command('show')).rejects.toThrow(
    /no view is named; give schema and name, such as orders\.summary/,
  );
  await expect(command('show', 'levels')).rejects.toThrow(/"levels" is no name of a view/);
  await expect(command('show', 'stock.nothing')).rejects.toThrow(
    /no view stock\.nothing; it has stock\.levels/,
  );
  await expect(command('drop', 'stock.levels', { all: true })).rejects.toThrow(/take it out first/);
  await expect(command('rebuild', 'stock.levels', { rest: '1' })).rejects.toThrow(/from 0 to 0\.95/);
});

test('commands about one thing are found under its name', async () => {
  const plimsoll = (...args: string[]): Promise<{ code: number; out: string; err: string }> =>
    new Promise((resolve) => {
      execFile(process.execPath, [bin, ...args], { cwd: folder }, (error, out, err) =>
        resolve({ code: error === null ? 0 : Number(error.code), out, err }),
      );
    });
  expect(await plimsoll('views', 'lost')).toMatchObject({
    code: 2,
    err: expect.stringContaining(
      'there is no command "views lost"; there are views list, views show',
    ) as string,
  });
  expect((await plimsoll('views', '--help')).out).toMatch(/Usage: plimsoll views <command> .*\n\n {2}list /s);
});
