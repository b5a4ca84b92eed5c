import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import express from 'express';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createClient } from '../client/client.ts';
import { sql } from '../database/sql.ts';
import { mountRoutes } from '../express/mount-routes.ts';
import { route } from '../gateway/route.ts';
import { desk, ledger, ledgerApp, ledgerTables, now } from '../../test/ledger/app.ts';
import { command, contract } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { showSaga } from '../saga/read.ts';
import { saga } from '../saga/saga.ts';
import { untilIdle } from '../testing/until-idle.ts';
import type { App } from './app.ts';

let server: TestDatabase;
let apps: readonly [App, App];
let site: ReturnType<ReturnType<typeof express>['listen']>;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  apps = [ledgerApp(server.url), ledgerApp(server.url)];
  await apps[0].start();
  await apps[0].database.execute(ledgerTables);
  await apps[1].start();
  const old = express();
  mountRoutes(apps[0], old, {
    routes: [
      route('/notes', ledger.add, { status: 201 }),
      route('/strict', ledger.add, { requiresKey: true }),
    ],
  });
  site = old.listen(0, '127.0.0.1');
  await once(site, 'listening');
});
afterAll(async () => {
  site.closeAllConnections();
  site.close();
  for (const app of apps) await app.stop();
  await server.drop();
});
beforeEach(async () => {
  Object.assign(now, {
    held: Promise.resolve(),
    fate: undefined,
    padding: '',
    runs: 0,
    effects: 0,
    tries: 0,
  });
  await apps[0].database.execute(
    sql`truncate ledger.note, desk.form, plimsoll.idempotency, plimsoll.task, plimsoll.job_receipt`,
  );
});

const post = (
  base: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> =>
  fetch(`${base}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
const count = async (): Promise<number> =>
  (await apps[0].database.one<{ n: number }>(sql`select count(*)::int as n from ledger.note`)).n;
const note = { text: 'a' };
const key = { 'idempotency-key': 'k' };

describe.each(['gateway', 'Express'])('%s', (where) => {
  const base = (): string =>
    where === 'gateway' ? apps[0].url : `http://127.0.0.1:${(site.address() as AddressInfo).port}`;

  test('the same key has one effect and one answer, told to be a replay', async () => {
    const first = await post(base(), '/notes', note, key);
    const again = await post(base(), '/notes', note, { 'idempotency-key': '"k"' });
    expect([first.status, again.status]).toEqual([201, 201]);
    expect([first.headers.get('idempotency-replayed'), again.headers.get('idempotency-replayed')]).toEqual([
      null,
      'true',
    ]);
    expect(await again.text()).toBe(await first.text());
    expect(await count()).toBe(1);
  });

  test('another body is 422, a key that cannot be read or is missing where it must be is 400', async () => {
    await post(base(), '/notes', note, key);
    const reused = await post(base(), '/notes', { text: 'b' }, key);
    expect([reused.status, await reused.json()]).toMatchObject([422, { code: 'PL_IDEMPOTENCY_REUSED' }]);
    for (const [path, headers] of [
      ['/notes', { 'idempotency-key': 'x'.repeat(256) }],
      ['/notes', { 'idempotency-key': '' }],
      ['/strict', {}],
    ] as const) {
      const refused = await post(base(), path, note, headers);
      expect([refused.status, await refused.json()]).toMatchObject([400, { code: 'PL_IDEMPOTENCY_KEY' }]);
    }
    expect(await count()).toBe(1);
  });

  test('while it is under way it is 409 with a time to come again', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    now.held = promise;
    now.fate = 'hold';
    const first = post(base(), '/notes', note, key);
    await expect.poll(() => now.effects).toBe(1);
    const busy = await post(base(), '/notes', note, key);
    expect([busy.status, Number(busy.headers.get('retry-after')) > 0]).toEqual([409, true]);
    resolve();
    expect((await first).status).toBe(201);
  });

  test('an input that is not valid, and an error, are not kept', async () => {
    expect((await post(base(), '/notes', {}, key)).status).toBe(400);
    now.fate = 'thrown';
    expect((await post(base(), '/notes', note, key)).status).toBe(500);
    now.fate = undefined;
    expect((await post(base(), '/notes', note, key)).status).toBe(201);
  });
});

test('a declared failure is replayed with its status; another user has keys of his own', async () => {
  now.fate = 'declared';
  expect((await post(apps[0].url, '/notes', note, key)).status).toBe(409);
  now.fate = 'good';
  const again = await post(apps[1].url, '/notes', note, key);
  expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([409, 'true']);
  expect((await post(apps[1].url, '/notes', note, { ...key, 'x-user': 'ada' })).status).toBe(201);
});

test('a job that was accepted under a key is one job, and each answer names it', async () => {
  const order = { text: 'o', failures: 0 };
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) => post(apps[n % 2]!.url, '/orders', order, key)),
  );
  const jobs = await Promise.all(
    answers.map(async (answer) => ((await answer.json()) as { jobId?: string }).jobId),
  );
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
  expect(new Set(jobs).size).toBe(1);
  expect(answers.filter(({ headers }) => headers.get('idempotency-replayed') === 'true')).toHaveLength(19);
  expect((await post(apps[0].url, '/orders', { ...order, text: 'p' }, key)).status).toBe(422);
  await untilIdle(apps[0]);
  expect(await count()).toBe(2);
  const { id } = await apps[0].database.one<{ id: string }>(
    sql`select id::text as id from plimsoll.job_receipt`,
  );
  expect(id).toBe(jobs[0]);
});

test('the client sends a key with each command, and answers a replay as the first', async () => {
  const client = createClient({ baseUrl: apps[0].url, routes: [route('/notes', ledger.add)] });
  const first = await client.call(ledger.add, note, { idempotencyKey: 'k' });
  expect(await client.call(ledger.add, note, { idempotencyKey: 'k' })).toEqual(first);
  await client.call(ledger.add, note);
  expect(await count()).toBe(2);
});

test('calls under one request keep their keys: what it called has one effect, though it failed first', async () => {
  const app = ledgerApp(server.url, {
    http: { port: 0, shed: false, routes: [route('/direct', desk.order)] },
  });
  await app.start();
  try {
    const order = { text: 'o', failures: 1 };
    expect((await post(app.url, '/direct', order, key)).status).toBe(500);
    const second = await post(app.url, '/direct', order, key);
    const third = await post(app.url, '/direct', order, key);
    expect([second.status, third.status, await third.text()]).toEqual([200, 200, await second.text()]);
    // A replay runs the handler as far as its first statement, and what it calls on the way is answered as before.
    expect([now.tries, await count()]).toEqual([3, 2]);
  } finally {
    await app.stop();
  }
});

test('what was replayed is counted', async () => {
  await post(apps[0].url, '/notes', note, key);
  await post(apps[0].url, '/notes', note, key);
  expect(await apps[0].metrics()).toMatch(/plimsoll_idempotency\S*\{[^}]*outcome="replayed"[^}]*\} [1-9]/);
});

test('a saga whose compensation fails as declared calls it until it goes', async () => {
  const trips = contract('trips', {
    book: command({ input: z.object({}) }),
    note: command({ input: z.object({}) }),
    undo: command({ input: z.object({}), errors: { NotYet: z.object({}) } }),
  });
  const booking = saga({ version: 1, input: trips.book.input, uses: [trips] }, async (run) => {
    await run.step('note', trips.note, {}, { compensate: () => [trips.undo, {}] });
    throw run.fail('Enough');
  });
  let isTooEarly = true;
  let undone = 0;
  const tripsModule = module(trips, {
    owns: { schema: 'trips' },
    commands: {
      book: async (_input, { start }) => void start(booking, {}, { id: 't' }),
      note: () => Promise.resolve(undefined),
      async undo(_input, { tx, fail }) {
        await tx.query(sql`select 1`);
        if (isTooEarly) return fail('NotYet', {});
        undone += 1;
        return undefined;
      },
    },
    sagas: { booking },
  });
  const app = ledgerApp(server.url, { modules: [tripsModule], http: { port: 0 } }, { listen: false });
  await app.start();
  try {
    await app.call(trips.book, {});
    const history = async (): Promise<readonly string[]> =>
      (await showSaga(app.database, 'trips.booking/t')).history.map(({ kind }) => kind);
    await expect.poll(history, { timeout: 10_000 }).toContain('undo_threw');
    isTooEarly = false;
    await expect
      .poll(() => showSaga(app.database, 'trips.booking/t'), { timeout: 10_000 })
      .toMatchObject({ state: 'compensated' });
    expect(undone).toBe(1);
  } finally {
    await app.stop();
  }
});
