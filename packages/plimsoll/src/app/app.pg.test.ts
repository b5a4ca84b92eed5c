import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase } from '@plimsoll/embedded';
import {
  command,
  contract,
  createApp,
  event,
  module,
  plan,
  query,
  route,
  sql,
  type App,
  type Plan,
} from '../index.ts';
import { untilIdle } from '../testing/until-idle.ts';

const accounts = contract('accounts', {
  open: command({
    input: z.object({ name: z.string().min(1) }),
    output: z.object({ id: z.number() }),
    errors: { Taken: z.object({ name: z.string() }) },
  }),
  note: command({ input: z.object({ text: z.string() }) }),
  byName: query({ input: z.object({ name: z.string() }), output: z.object({ id: z.number() }).nullable() }),
  fromReplica: query({ input: z.object({}), output: z.boolean() }),
  decide: command({ input: z.object({}), output: z.boolean() }),
  opened: event({ payload: z.object({ id: z.number(), name: z.string() }), key: (payload) => payload.name }),
});
const audit = contract('audit', {
  count: query({ input: z.object({}), output: z.object({ notes: z.number() }) }),
});

const migrations = new URL('./fixtures/', import.meta.url);

const accountsModule = module(accounts, {
  owns: { schema: 'accounts', migrations: new URL('accounts/', migrations) },
  commands: {
    async open({ name }, { tx, emit, enqueue, fail }) {
      const row = await tx.maybeOne<{ id: number }>(sql`
        insert into accounts.account (name) values (${name}) on conflict do nothing returning id`);
      if (row === undefined) return fail('Taken', { name });
      emit(accounts.opened, { id: row.id, name });
      enqueue(accounts.note, { text: `welcome ${name}` });
      return row;
    },
    decide: (_input, { call }) => call(accounts.fromReplica, {}),
    async note({ text }, { tx }) {
      await tx.execute(sql`insert into accounts.note (text) values (${text})`);
    },
  },
  queries: {
    fromReplica: async (_input, { db }) =>
      (await db.one<{ replica: boolean }>(sql`select pg_is_in_recovery() as replica`)).replica,
    byName: async ({ name }, { db }) =>
      (await db.maybeOne<{ id: number }>(sql`select id from accounts.account where name = ${name}`)) ?? null,
  },
});
const auditModule = module(audit, {
  owns: { schema: 'audit', migrations: new URL('audit/', migrations) },
  uses: [accounts],
  queries: {
    count: (_input, { db }) => db.one<{ notes: number }>(sql`select count(*)::int as notes from audit.entry`),
  },
  on: (on) => [
    on(accounts.opened, { name: 'record' }, async ({ name }, { tx, delivery }) => {
      await tx.execute(sql`insert into audit.entry (event_id, name) values (${delivery.eventId}, ${name})`);
    }),
  ],
});

const thePlan: Plan = plan({
  name: 'bank',
  modules: [accountsModule, auditModule],
  http: {
    port: 0,
    routes: [
      route('/accounts', accounts.open, { status: 201, errors: { Taken: 409 } }),
      route('/accounts/:name', accounts.byName),
    ],
  },
  expectedPeak: { requestsPerSecond: 10 },
  objectives: { default: { p95Ms: 100, errorRate: 0 } },
});

describe('an app on a real primary and replica', () => {
  let app: App;
  let database: Awaited<ReturnType<typeof createTestDatabase>>;

  beforeAll(async () => {
    database = await createTestDatabase(inject('cluster'));
    app = createApp(thePlan, { databaseUrl: database.url, replicaUrls: database.replicaUrls });
    await app.start();
  });
  afterAll(async () => {
    await app.stop();
    await database.drop();
  });

  test('a command, its event and its job have their effects once', async () => {
    const opened = await app.call(accounts.open, { name: 'ada' });
    expect(opened).toEqual({ ok: true, value: { id: expect.any(Number) as number } });
    await untilIdle(app);
    expect(await app.database.query(sql`select name from audit.entry`)).toEqual([{ name: 'ada' }]);
    expect(await app.database.query(sql`select text from accounts.note`)).toEqual([{ text: 'welcome ada' }]);
  });

  test('a declared error rolls back everything the command did', async () => {
    const before = await app.database.one(sql`select count(*)::int as events from plimsoll.event`);
    expect(await app.call(accounts.open, { name: 'ada' })).toEqual({
      ok: false,
      error: 'Taken',
      data: { name: 'ada' },
    });
    await untilIdle(app);
    expect(await app.database.one(sql`select count(*)::int as events from plimsoll.event`)).toEqual(before);
  });

  test('a query reads the replica, but under a command the primary: decisions are not made on stale data', async () => {
    await app.database.ping();
    expect(await app.call(accounts.fromReplica, {})).toBe(true);
    expect(await app.call(accounts.decide, {})).toBe(false);
  });

  test('HTTP: the method follows from the operation, failures are problems with the correlation id', async () => {
    const post = (body: unknown): Promise<Response> =>
      fetch(`${app.url}/accounts`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-correlation-id': 'test-1' },
        body: JSON.stringify(body),
      });
    const created = await post({ name: 'grace' });
    expect(created.status).toBe(201);
    expect(created.headers.get('x-correlation-id')).toBe('test-1');
    expect((await post({ name: 'grace' })).status).toBe(409);
    const invalid = await post({ name: 1 });
    expect(invalid.status).toBe(400);
    expect(invalid.headers.get('content-type')).toContain('application/problem+json');
    expect(await invalid.json()).toMatchObject({
      code: 'PL_INPUT_INVALID',
      correlationId: 'test-1',
      status: 400,
    });
    expect((await fetch(`${app.url}/nowhere`)).status).toBe(404);
    expect((await fetch(`${app.url}/readyz`)).status).toBe(200);
    const telemetry = (await (await fetch(`${app.url}/-/telemetry`)).json()) as Record<string, unknown[]>;
    expect(telemetry['http.server.request.duration']).toContainEqual(
      expect.objectContaining({ 'http.route': '/accounts', 'http.response.status_code': 201, count: 1 }),
    );
  });
});
