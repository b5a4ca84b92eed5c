import { createTestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createClient } from '../client/client.ts';
import { createSessionStore } from '../gateway/session-store.ts';
import { command, contract, createApp, module, plan, query, route, sql, type App } from '../index.ts';
import { forgetReceipts, jobStatus } from '../jobs/receipt.ts';

const secret = 'only for this test, and long enough';
// What the running job waits for, and how often it was begun.
let hold: Promise<void> = Promise.resolve();
let begun = 0;

const imports = contract('imports', {
  run: command({
    input: z.object({ rows: z.number().int(), fate: z.enum(['good', 'declared', 'bug']) }),
    errors: { Unreadable: z.object({ row: z.number() }) },
  }),
  logIn: command({
    input: z.object({ name: z.string() }),
    output: z.object({ principal: z.string(), tenant: z.string().optional() }),
  }),
  nobody: command({ input: z.object({}), output: z.object({ name: z.string() }) }),
  logOut: command({ input: z.object({}) }),
  who: query({
    input: z.object({}),
    output: z.object({ principal: z.string().optional(), tenant: z.string().optional() }),
  }),
});
const importsModule = module(imports, {
  owns: { schema: 'imports' },
  commands: {
    async run({ fate }, { fail }) {
      begun += 1;
      await hold;
      if (fate === 'declared') return fail('Unreadable', { row: 7 });
      if (fate === 'bug') throw new Error('secret host 10.0.0.7');
      return undefined;
    },
    logIn: ({ name }) => Promise.resolve({ principal: name, tenant: 'acme' }),
    nobody: () => Promise.resolve({ name: 'x' }),
    logOut: () => Promise.resolve(undefined),
  },
  queries: {
    who: (_input, { caller: { principal, tenant } }) =>
      Promise.resolve({
        ...(principal === undefined ? {} : { principal }),
        ...(tenant === undefined ? {} : { tenant }),
      }),
  },
});
const thePlan = plan({
  name: 'imports',
  modules: [importsModule],
  http: {
    port: 0,
    trustProxy: ['127.0.0.1'],
    sessions: { secret, ttlMs: 60_000 },
    routes: [
      route('/imports', imports.run, { enqueue: true }),
      route('/login', imports.logIn, { session: 'begin' }),
      route('/nobody', imports.nobody, { session: 'begin' }),
      route('/logout', imports.logOut, { session: 'end' }),
      route('/who', imports.who),
    ],
  },
  worker: { backoff: { baseMs: 1, maxMs: 2 } },
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 100, errorRate: 0 } },
});

let app: App;
let drop: () => Promise<void>;

beforeAll(async () => {
  const testDatabase = await createTestDatabase(inject('cluster'));
  drop = async () => {
    await testDatabase.drop();
  };
  app = createApp(thePlan, { databaseUrl: testDatabase.url });
  await app.start();
});
afterAll(async () => {
  await app?.stop();
  await drop?.();
});

function post(
  path: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return fetch(`${app.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

describe('202 for queued work', () => {
  const client = (): ReturnType<typeof createClient<typeof thePlan.http.routes>> =>
    createClient({ baseUrl: app.url, routes: thePlan.http.routes });

  test('queued, running and done are told where Location says', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    hold = promise;
    begun = 0;
    const accepted = await post('/imports', { rows: 1, fate: 'good' });
    expect(accepted.status).toBe(202);
    const { jobId } = (await accepted.json()) as { jobId: string };
    expect(accepted.headers.get('location')).toBe(`/-/jobs/${jobId}`);
    await expect.poll(() => begun).toBe(1);
    const status = async (): Promise<unknown> => (await fetch(`${app.url}/-/jobs/${jobId}`)).json();
    expect(await status()).toMatchObject({ jobId, name: 'imports.run', state: 'running', attempts: 1 });
    resolve();
    await expect.poll(status).toEqual({
      jobId,
      name: 'imports.run',
      state: 'done',
      acceptedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as string,
    });
  });

  test.each<['declared' | 'bug', object]>([
    [
      'declared',
      { code: 'PL_JOB_FAILED', message: expect.stringContaining('Unreadable {"row":7}') as string },
    ],
    ['bug', { code: 'INTERNAL', message: expect.not.stringContaining('10.0.0.7') as string }],
  ])(
    'a %s failure tells its attempts, is failed when it is given up, and leaks nothing',
    async (fate, lastError) => {
      hold = Promise.resolve();
      const { jobId } = await client().enqueue(imports.run, { rows: 1, fate });
      await expect
        .poll(() => client().job(jobId), { timeout: 20_000 })
        .toMatchObject({
          state: 'failed',
          attempts: 20,
          maxAttempts: 20,
          lastError,
        });
    },
  );

  test('an input that is not valid is refused at once, and no job exists', async () => {
    const count = (): Promise<{ n: number }> =>
      app.database.one(sql`select count(*)::int as n from plimsoll.job_receipt`);
    const before = await count();
    expect((await post('/imports', { rows: 'x', fate: 'good' })).status).toBe(400);
    expect(await count()).toEqual(before);
  });

  test('job and receipt exist together or not at all', async () => {
    await app.database.execute(
      sql`alter table plimsoll.task add constraint refuse check (name <> 'imports.run') not valid`,
    );
    const before = await app.database.query(sql`select id from plimsoll.job_receipt`);
    try {
      expect((await post('/imports', { rows: 1, fate: 'good' })).status).toBe(500);
    } finally {
      await app.database.execute(sql`alter table plimsoll.task drop constraint refuse`);
    }
    expect(await app.database.query(sql`select id from plimsoll.job_receipt`)).toEqual(before);
  });

  test.each(['6a1e0a1e-0000-4000-8000-000000000000', 'no-uuid', "';drop table x"])(
    'the id %j is unknown',
    async (id) => {
      const response = await fetch(`${app.url}/-/jobs/${encodeURIComponent(id)}`);
      expect([response.status, await response.json()]).toMatchObject([404, { code: 'PL_JOB_UNKNOWN' }]);
    },
  );

  test('old receipts are forgotten on request, those of live jobs never', async () => {
    const [done, parked] = await app.database.query<{ id: string }>(sql`
      select r.id from plimsoll.job_receipt r left join plimsoll.task t using (id) order by t.id is not null limit 2`);
    await app.database.execute(sql`update plimsoll.job_receipt set accepted_at = now() - interval '2 days'`);
    expect(await forgetReceipts(app.database, 3 * 86_400_000)).toBe(0);
    expect(await forgetReceipts(app.database, 86_400_000)).toBe(1);
    expect(await jobStatus(app.database, done!.id)).toBeUndefined();
    expect(await jobStatus(app.database, parked!.id)).toMatchObject({ state: 'failed' });
  });
});

describe('sessions', () => {
  const cookieOf = (response: Response): string => response.headers.getSetCookie()[0] ?? '';
  const pairOf = (response: Response): string => cookieOf(response).split(';', 1)[0] ?? '';
  const who = async (cookie: string, headers: Readonly<Record<string, string>> = {}): Promise<unknown> =>
    (await fetch(`${app.url}/who`, { headers: { cookie, ...headers } })).json();
  const https = { 'x-forwarded-proto': 'https' };

  test('a login makes the caller known, a logout ends it', async () => {
    expect(await who('')).toEqual({});
    const login = await post('/login', { name: 'ann' });
    expect(cookieOf(login)).toMatch(/^sid=[\w-]{43}; Max-Age=60; Path=\/; HttpOnly; SameSite=Lax$/);
    expect(login.headers.get('cache-control')).toBe('no-store');
    expect(await who(pairOf(login))).toEqual({ principal: 'ann', tenant: 'acme' });
    const logout = await post('/logout', {}, { cookie: pairOf(login) });
    expect(cookieOf(logout)).toMatch(/^sid=; .*Expires=Thu, 01 Jan 1970/);
    expect(await who(pairOf(login))).toEqual({});
  });

  test('asking who is logged in is nothing that the client has seen', async () => {
    const login = await post('/login', { name: 'ann' });
    const answer = await fetch(`${app.url}/who`, { headers: { cookie: pairOf(login) } });
    expect(await answer.json()).toMatchObject({ principal: 'ann' });
    expect(answer.headers.get('plimsoll-seen')).toBeNull();
  });

  test('on HTTPS the cookie is Secure and bound to the host, and the plain name counts for nothing', async () => {
    const login = await post('/login', { name: 'ann' }, https);
    expect(cookieOf(login)).toMatch(/^__Host-sid=[\w-]{43}; .*Path=\/; HttpOnly; Secure; SameSite=Lax$/);
    expect(await who(pairOf(login), https)).toMatchObject({ principal: 'ann' });
    expect(await who(pairOf(login).replace('__Host-', ''), https)).toEqual({});
  });

  test('a login takes a new id, and the one before it ends: a planted one is worth nothing', async () => {
    const planted = `sid=${'a'.repeat(43)}`;
    const first = await post('/login', { name: 'ann' }, { cookie: planted });
    expect(pairOf(first)).not.toBe(planted);
    expect(await who(planted)).toEqual({});
    const second = await post('/login', { name: 'bob' }, { cookie: pairOf(first) });
    expect(pairOf(second)).not.toBe(pairOf(first));
    expect(await who(pairOf(first))).toEqual({});
    expect(await who(pairOf(second))).toMatchObject({ principal: 'bob' });
  });

  test('the table holds no id that would open a session', async () => {
    const login = await post('/login', { name: 'carl' });
    const id = pairOf(login).slice('sid='.length);
    const rows = await app.database.query<{ row: string }>(
      sql`select to_jsonb(s)::text as row from plimsoll.session s`,
    );
    expect(rows.length).toBeGreaterThan(0);
    expect(JSON.stringify(rows)).not.toContain(id);
    const other = createSessionStore(app.database, { secret: secret.toUpperCase() });
    expect(await other.find(id)).toBeUndefined();
  });

  test('an expired session counts for nothing, and is deleted on request', async () => {
    const login = await post('/login', { name: 'dora' });
    await app.database.execute(sql`update plimsoll.session set expires_at = now() where principal = 'dora'`);
    expect(await who(pairOf(login))).toEqual({});
    expect(await createSessionStore(app.database, { secret }).forgetExpired()).toBe(1);
  });

  test('data is kept, all sessions of one can be ended, and a restart of the app ends none', async () => {
    const store = createSessionStore(app.database, { secret });
    const id = await store.begin({ principal: 'eve', data: { theme: 'dark' } });
    expect(await store.find(id)).toEqual({ principal: 'eve', data: { theme: 'dark' } });
    await app.stop();
    await app.start();
    expect(await who(`sid=${id}`)).toEqual({ principal: 'eve' });
    expect(await createSessionStore(app.database, { secret }).endAllOf('eve')).toBe(1);
    expect(await who(`sid=${id}`)).toEqual({});
  });

  test('a command that names nobody begins none', async () => {
    const response = await post('/nobody', {});
    expect([response.status, await response.json()]).toMatchObject([500, { code: 'PL_OUTPUT_INVALID' }]);
    expect(response.headers.getSetCookie()).toEqual([]);
  });
});
