import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { DoctorReport } from '@plimsoll/cli/doctor';
import { startChild, type Child } from '@plimsoll/cli/process';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf, sql } from 'plimsoll';
import { createDatabase, migrate, type Database } from 'plimsoll/database';
import { shopModules } from '../modules.ts';
import { nowhere } from '../outside.ts';
import { importRetail } from '../retail/import.ts';
import { createShopScenario } from '../traffic/scenario.ts';
import { makeFaulty, weeksOfHistory } from './history.ts';
import { lightLoad } from './light-load.ts';

const shopFolder = join(import.meta.dirname, '..');
const cli = join(shopFolder, '../../packages/cli/bin/plimsoll.js');

let directory: string;
let bank: Child;
let mail: Child;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'plimsoll-faulty-'));
  const start = (name: string, file: string, env: Record<string, string>): Promise<Child> =>
    startChild({ name, file: join(shopFolder, file), env, logFile: join(directory, `${name}.log`) });
  bank = await start('bank', 'bank/server.ts', { BANK_PORT: '0' });
  mail = await start('mail', 'mail/server.ts', { MAIL_SMTP_PORT: '0', MAIL_HTTP_PORT: '0' });
});
afterAll(async () => {
  await Promise.all([bank?.stop(), mail?.stop()]);
  await rm(directory, { recursive: true, force: true });
});

interface Examined {
  readonly code: number | null;
  readonly report: DoctorReport;
  readonly load: { readonly answered: number; readonly errors: number };
}

/** The shop and the doctor as processes of their own, on a database that `prepare` has filled. */
async function examined(
  faulty: boolean,
  windowS: number,
  prepare: (database: Database) => Promise<void>,
): Promise<Examined> {
  await using cleanup = new AsyncDisposableStack();
  const server: TestDatabase = await createTestDatabase(inject('cluster'));
  cleanup.defer(() => server.drop());
  {
    await using database = createDatabase({ url: server.url, pool: { max: 2 } });
    const modules = shopModules(nowhere);
    await migrate(database, migrationsOf({ modules }));
    await importRetail(database);
    await prepare(database);
  }
  const env = {
    DATABASE_URL: server.url,
    DATABASE_REPLICA_URLS: server.replicaUrls.join(','),
    BANK_URL: `http://127.0.0.1:${(bank.ready as { listening: number }).listening}`,
    SMTP_URL: `smtp://127.0.0.1:${(mail.ready as { smtp: number }).smtp}`,
    SHOP_FAULTY: faulty ? '1' : '0',
  };
  const shop = cleanup.use(
    await startChild({
      name: 'shop',
      file: cli,
      args: ['start', '--port', '0'],
      env,
      cwd: shopFolder,
      logFile: join(directory, 'shop.log'),
    }),
  );
  const target = (shop.ready as { url: string }).url;
  const over = new AbortController();
  const loading = lightLoad(target, await createShopScenario(), {
    visitors: 4,
    pauseMs: 5,
    signal: over.signal,
  });
  const doctor = spawn(
    process.execPath,
    [cli, 'doctor', '--target', target, '--window', String(windowS), '--json'],
    { cwd: shopFolder, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [out, [code]] = await Promise.all([text(doctor.stdout), once(doctor, 'close')]);
  over.abort();
  return { code: code as number | null, report: JSON.parse(out) as DoctorReport, load: await loading };
}

test('the healthy shop has no findings', { timeout: 120_000 }, async () => {
  const { code, report, load } = await examined(false, 6, () => Promise.resolve());
  expect(load.errors).toBe(0);
  expect(report).toMatchObject({ findings: [], blindSpots: [] });
  // It has seen enough to have found something.
  expect(report.examined.executions).toBeGreaterThan(100);
  expect(report.examined.operations).toBeGreaterThan(10);
  expect(report.examined.statements).toBeGreaterThan(10);
  expect(code).toBe(0);
});

test(
  'both faults of the faulty shop are found, named exactly, and nothing else',
  { timeout: 180_000 },
  async () => {
    const { code, report, load } = await examined(true, 8, async (database) => {
      const { orders, lines } = await makeFaulty(database);
      expect(orders).toBe(423 * weeksOfHistory);
      // As a run that has made the fix leaves it.
      await database.execute(sql`create index by_customer_again on orders.orders (customer_id, id)`);
      expect(await makeFaulty(database)).toEqual({ orders, lines });
      const left = sql`select 1 from pg_indexes where tablename = 'orders' and indexdef like '%(customer_id%'`;
      expect(await database.query(left)).toEqual([]);
      // What the faulty code adds up is what the healthy code reads.
      const wrong = sql`
      select count(*)::int as n from orders.orders o
      where pence <> (select coalesce(sum(quantity * pence), 0) from orders.lines where order_id = o.id)`;
      expect(await database.one(wrong)).toEqual({ n: 0 });
    });
    expect(load.errors).toBe(0);
    expect(report.blindSpots).toEqual([]);
    const byRule = report.findings
      .filter((finding) => finding.rule !== 'missed-invalidation')
      .toSorted((a, b) => a.rule.localeCompare(b.rule));
    expect(byRule).toMatchObject([
      {
        rule: 'missing-index',
        table: 'orders.orders',
        operations: ['orders.byCustomer'],
        proved: true,
        fix: {
          sql: 'create index concurrently orders_by_customer_id_placed_at_id on orders.orders (customer_id, placed_at desc, id desc);',
        },
      },
      {
        rule: 'n-plus-one',
        operations: ['orders.byCustomer'],
        statement:
          'select coalesce(sum(quantity * pence), 0)::bigint as pence from orders.lines where order_id = $1',
        proved: true,
        gain: { unit: 'statements per execution', after: 2 },
        fix: { code: expect.stringContaining('where order_id = any($1)') as string },
      },
    ]);
    const [index, loop] = byRule;
    expect(index!.gain.after! / index!.gain.before).toBeLessThan(0.05);
    expect(index!.cost.share).toBeGreaterThan(0.5);
    expect(loop!.gain.before).toBeGreaterThan(8);
    expect(loop!.evidence[1]).toMatch(/^once for each row of .* from orders\.orders where customer_id = \$1/);
    expect(code).toBe(1);
  },
);
