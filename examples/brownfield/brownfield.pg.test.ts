import { spawnSync } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import type { Express } from 'express';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, plan, sql, type App } from 'plimsoll';
import {
  checkBoundaries,
  compareWithTodo,
  describeViolation,
  readTodo,
  writeTodo,
} from 'plimsoll/boundaries';
import { createLogger } from 'plimsoll/telemetry';
import { createSite as createBefore } from './before.ts';
import sitePlan from './plimsoll.plan.ts';
import { serve } from './serve.ts';

interface Running {
  readonly url: string;
  readonly mails: string[];
  readonly pool: pg.Pool;
  readonly stop: () => Promise<void>;
}

async function listen(site: Express): Promise<{ readonly url: string; readonly server: Server }> {
  const server = site.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}
const closed = (server: Server): Promise<unknown> => {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(resolve));
};

async function withSchema(database: TestDatabase): Promise<pg.Pool> {
  const pool = new pg.Pool({ connectionString: database.url });
  await pool.query(readFileSync(new URL('./schema.sql', import.meta.url), 'utf8'));
  return pool;
}

async function startBefore(): Promise<Running> {
  const database = await createTestDatabase(inject('cluster'));
  const pool = await withSchema(database);
  const mails: string[] = [];
  const { url, server } = await listen(
    createBefore(pool, async (to, text) => void mails.push(`${to}: ${text}`)),
  );
  return {
    url,
    mails,
    pool,
    async stop() {
      await closed(server);
      await pool.end();
      await database.drop();
    },
  };
}

async function startAfter(): Promise<Running & { readonly app: App; readonly databaseUrl: string }> {
  const database = await createTestDatabase(inject('cluster'));
  await (await withSchema(database)).end();
  const mails: string[] = [];
  const site = await serve(
    async (to, text) => void mails.push(`${to}: ${text}`),
    { databaseUrl: database.url, replicaUrl: database.replicaUrls[0]!, port: 0 },
    createLogger({ name: 'site', level: 'silent' }),
  );
  return {
    ...site,
    databaseUrl: database.url,
    mails,
    async stop() {
      await site.stop();
      await database.drop();
    },
  };
}

let before: Running;
let after: Awaited<ReturnType<typeof startAfter>>;

beforeAll(async () => {
  before = await startBefore();
  after = await startAfter();
});
afterAll(async () => {
  await before?.stop();
  await after?.stop();
});

interface Answer {
  readonly status: number;
  readonly body: unknown;
}
async function ask({ url }: Running, method: string, path: string, body?: unknown): Promise<Answer> {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${url}${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, body: text === '' ? '' : (JSON.parse(text) as unknown) };
}

describe('both versions answer the ten routes alike', () => {
  test.each<[number, string, string, unknown?]>([
    [201, 'POST', '/products', { name: 'tea', price: 250, stock: 10 }],
    [201, 'POST', '/products', { name: 'mug', price: 900 }],
    [400, 'POST', '/products', { name: 'free' }],
    [200, 'GET', '/products'],
    [200, 'GET', '/products/1'],
    [404, 'GET', '/products/99'],
    [500, 'GET', '/products/none'],
    [200, 'PUT', '/products/2/stock', { stock: 1 }],
    [404, 'PUT', '/products/99/stock', { stock: 1 }],
    [201, 'POST', '/customers', { email: 'ada@example.org', name: 'Ada' }],
    [409, 'POST', '/customers', { email: 'ada@example.org', name: 'Ada again' }],
    [200, 'GET', '/customers/1'],
    [404, 'GET', '/customers/99'],
    [
      201,
      'POST',
      '/orders',
      {
        customerId: 1,
        lines: [
          { productId: 1, quantity: 2 },
          { productId: 2, quantity: 1 },
        ],
      },
    ],
    [
      409,
      'POST',
      '/orders',
      {
        customerId: 1,
        lines: [
          { productId: 1, quantity: 1 },
          { productId: 2, quantity: 5 },
        ],
      },
    ],
    [500, 'POST', '/orders', { customerId: 99, lines: [] }],
    [200, 'GET', '/orders/1'],
    [404, 'GET', '/orders/99'],
    [500, 'DELETE', '/products/1'],
    [404, 'DELETE', '/products/99'],
    [200, 'GET', '/products'],
  ])('%i %s %s', async (status, method, path, body) => {
    const answered = await ask(before, method, path, body);
    expect(answered.status).toBe(status);
    expect(await ask(after, method, path, body)).toEqual(answered);
  });

  test('204 DELETE of a product that nobody has ordered', async () => {
    const create = { name: 'gone', price: 1 };
    const made = await ask(before, 'POST', '/products', create);
    expect(await ask(after, 'POST', '/products', create)).toEqual(made);
    const path = `/products/${(made.body as { id: number }).id}`;
    for (const version of [before, after]) {
      expect(await ask(version, 'DELETE', path)).toEqual({ status: 204, body: '' });
      expect((await ask(version, 'GET', path)).status).toBe(404);
    }
  });

  test('200 GET /reports/sales, in the second version from the replica and a little later', async () => {
    const servers: string[] = [];
    const note = (message: unknown): void => {
      const { server, text } = message as { server: string; text: string };
      if (text.includes('order_lines')) servers.push(server);
    };
    subscribe('plimsoll:database.query', note);
    try {
      const answered = await ask(before, 'GET', '/reports/sales');
      expect(answered.body).toHaveLength(2);
      // The first reads may come before it is known how the replica is; then the primary serves them.
      await expect
        .poll(async () => [await ask(after, 'GET', '/reports/sales'), servers.at(-1)], { timeout: 10_000 })
        .toEqual([answered, 'replica-1']);
    } finally {
      unsubscribe('plimsoll:database.query', note);
    }
  });

  test('the same mails go out, one for the one order that was committed', async () => {
    expect(before.mails).toEqual(['ada@example.org: Order 1: 1400']);
    await expect.poll(() => after.mails, { timeout: 10_000 }).toEqual(before.mails);
  });
});

describe('what the second version has more', () => {
  test('an event for the committed order alone, and points for it through the mounted module', async () => {
    const events = sql`select payload from plimsoll.event where type = 'shop.ordered'`;
    const ordered = [{ payload: { customerId: 1, total: 1400 } }];
    await expect.poll(() => after.app.database.query(events), { timeout: 10_000 }).toEqual(ordered);
    const points = (): Promise<Answer> => ask(after, 'GET', '/points/1');
    await expect.poll(points, { timeout: 10_000 }).toEqual({ status: 200, body: { points: 1400 } });
    expect(await ask(after, 'GET', '/points/none')).toMatchObject({
      status: 400,
      body: { code: 'PL_INPUT_INVALID' },
    });
    expect((await fetch(`${before.url}/points/1`)).status).toBe(404);
  });
});

describe('what docs/adopt.md says', () => {
  const page = readFileSync(new URL('../../docs/adopt.md', import.meta.url), 'utf8');

  test('the app has at most twice `pool.max` connections, and one for its worker', async () => {
    const max = 2;
    const name = 'figures';
    const small = plan({ ...sitePlan, name, database: { pool: { max } } });
    await using app = createApp(small, { databaseUrl: after.databaseUrl, listen: false });
    await app.start();
    const hold = sql`select pg_sleep(0.1)`;
    const many = Array.from({ length: 5 * max }, () => [
      app.database.query(hold),
      app.database.readOnly((db) => db.query(hold)),
    ]);
    await Promise.all(many.flat());
    const { rows } = await after.pool.query<{ connections: number }>(
      'select count(*)::int as connections from pg_stat_activity where application_name = $1',
      [name],
    );
    expect(rows).toEqual([{ connections: 2 * max + 1 }]);
    // The default of `max` is 10, so 21.
    expect(after.app.database.pools()).toMatchObject({ primary: { max: 10 }, 'primary-reads': { max: 10 } });
    expect(page).toContain('21 connections at most');
  });

  test('the foreign keys that were there are found, and recorded they are not new', async () => {
    const { modules } = sitePlan;
    const root = import.meta.dirname;
    const findings = await checkBoundaries({ modules, root, database: after.app.database });
    const keys = findings.violations.filter(({ layer }) => layer === 'catalog');
    expect(keys.map(({ where }) => where)).toEqual([
      'foreign key public.order_lines.order_lines_product_id_fkey, of module shop',
    ]);
    expect(page).toContain(keys.map(describeViolation).join('\n'));
    const todo = readTodo(writeTodo(findings, []), 'boundaries.todo.json');
    expect(compareWithTodo(findings, todo)).toMatchObject({ fresh: [], stale: [] });
  });

  test('telemetry and metrics are served by the site', async () => {
    expect(await (await fetch(`${after.url}/-/metrics`)).text()).toContain('plimsoll_tasks');
    const telemetry = await (await fetch(`${after.url}/-/telemetry`)).text();
    expect(telemetry).toContain('/products/:id/stock');
    expect(telemetry).toContain('mail.order');
  });
});

test('the README tells the size of the difference as it is', () => {
  const diff = ['diff', '--no-index', '--stat', 'before.ts', 'after.ts'];
  const { stdout } = spawnSync('git', diff, { cwd: import.meta.dirname, encoding: 'utf8' });
  const summary = stdout.trimEnd().split('\n').at(-1) ?? '';
  expect(summary).toContain('1 file changed');
  expect(readFileSync(new URL('./README.md', import.meta.url), 'utf8')).toContain(summary);
});
