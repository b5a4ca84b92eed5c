import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { objectivesOf } from '@plimsoll/cli/load';
import { startChild, untilStopped, type Child } from '@plimsoll/cli/process';
import { startCluster } from '@plimsoll/embedded';
import { migrationsOf, type AppTelemetry, type Plan } from 'plimsoll';
import { createDatabase, migrate } from 'plimsoll/database';
import { makeFaulty } from '../faulty/history.ts';
import { importRetail } from '../retail/import.ts';
import { startOutside } from '../start-outside.ts';
import { createShopScenario } from '../traffic/scenario.ts';
import { bankFaults } from './bank-faults.ts';
import { overload } from './overload.ts';
import { createRecord, type Shop } from './record.ts';
import { paymentsOnly } from './scenarios.ts';

const help = `npm run soak:overload: the shop past its knee, and with a bank that is ill

Usage: npm run soak:overload -- [options]

  --minutes <number>  how long it takes, roughly (default 6, from 3 to 60, for all phases)
  --only <phase>      processor, faults, bank or database (default: all, one after the other)
  --unguarded         without shedding and without policies between modules, for comparison: nothing is judged
  --seed <number>     plan the same requests as an earlier run
  --json              only the last line, which is JSON
  --help              this page

Starts PostgreSQL with a replica, the bank, the mail server and the shop, all on loopback, and ends them. Ends with
one line of JSON; the exit code is 1 when anything that was promised did not hold.`;

const phases = ['processor', 'faults', 'bank', 'database'] as const;
type Phase = (typeof phases)[number];

interface Options {
  readonly minutes: number;
  readonly only: Phase | undefined;
  readonly unguarded: boolean;
  readonly seed: number;
  readonly json: boolean;
}

/** What the three overloads and the faults of the bank take, in parts of one. */
const steps = 30;
/** Of requests while the bank is ill, where the capacity was not measured. */
const easyRps = 300;

async function main(options: Options): Promise<boolean> {
  const startedMs = performance.now();
  const stop = new AbortController();
  void untilStopped().then((why) => stop.abort(new Error(why)));
  const stepMs = (options.minutes * 60_000) / steps;
  const record = createRecord({
    judges: !options.unguarded,
    say: (line) => void (options.json || process.stderr.write(`${line}\n`)),
  });
  const { say } = record;

  await using servers = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'plimsoll-overload-'));
  servers.defer(() => rm(directory, { recursive: true, force: true }));
  const cluster = servers.use(await startCluster({ replicas: 1 }));
  const outside = await startOutside(servers, directory);
  Object.assign(process.env, { BANK_URL: outside.bankUrl, SMTP_URL: outside.smtpUrl, PORT: '0' });
  const plan = ((await import('./plimsoll.plan.ts')) as { default: Plan }).default;
  const { url } = cluster.primary;
  {
    await using database = createDatabase({ url });
    await migrate(database, migrationsOf(plan));
    await importRetail(database);
  }

  let running: Child | undefined;
  servers.defer(() => running?.stop());
  async function startShop(faulty: boolean): Promise<Shop> {
    await running?.stop();
    running = await startChild({
      name: 'the shop',
      file: join(import.meta.dirname, '../../../packages/cli/bin/plimsoll.js'),
      args: ['start', '--port', '0', '--plan', options.unguarded ? 'unguarded.plan.ts' : 'plimsoll.plan.ts'],
      env: {
        DATABASE_URL: url,
        DATABASE_REPLICA_URLS: cluster.replicas.map((replica) => replica.url).join(','),
        BANK_URL: outside.bankUrl,
        SMTP_URL: outside.smtpUrl,
        SHOP_FAULTY: faulty ? '1' : '0',
        NODE_ENV: 'production',
      },
      cwd: import.meta.dirname,
      logFile: join(directory, 'shop.log'),
    });
    const target = (running.ready as { readonly url: string }).url;
    return {
      target,
      objectives: objectivesOf(plan),
      stepMs,
      seed: options.seed,
      signal: stop.signal,
      telemetry: async () => (await (await fetch(`${target}/-/telemetry`)).json()) as AppTelemetry,
    };
  }

  const week = await createShopScenario();
  say(`a shop on two databases, seed ${options.seed}, steps of ${(stepMs / 1_000).toFixed(1)} s`);
  const isAsked = (phase: Phase): boolean => options.only === undefined || options.only === phase;
  const shop = await startShop(false);
  let capacity = easyRps;
  if (isAsked('processor'))
    capacity = await overload(record, shop, { name: 'processor', scenario: week, from: 200, least: 0.8 });
  if (isAsked('faults'))
    await bankFaults(record, shop, { scenario: week, rateRps: capacity / 3, setBank: outside.setBank });
  if (isAsked('bank')) {
    await outside.setBank({ mode: 'slow', latencyMs: 100 });
    await overload(record, shop, { name: 'bank, 10x slower', scenario: paymentsOnly, from: 60, least: 0.9 });
    await outside.setBank({ mode: 'ok' });
  }

  if (isAsked('database')) {
    say('ten years of orders, and no index on orders by customer: now the database is what ends first');
    await using database = createDatabase({ url });
    await makeFaulty(database);
    for (const replica of cluster.replicas) await replica.caughtUp();
    const slow = await startShop(true);
    await overload(record, slow, { name: 'database', scenario: week, from: 40, least: 0.9 });
  }

  const { violations, rows, operations } = record;
  const minutes = (performance.now() - startedMs) / 60_000;
  const faults = rows.length;
  console.log(
    JSON.stringify({ soak: 'overload', seed: options.seed, minutes, operations, faults, violations, rows }),
  );
  return violations.length === 0;
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '6' },
      only: { type: 'string' },
      unguarded: { type: 'boolean', default: false },
      seed: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) return undefined;
  const minutes = Number(values.minutes);
  if (!(minutes >= 3 && minutes <= 60))
    throw new TypeError(`--minutes is ${JSON.stringify(values.minutes)}; want a number from 3 to 60`);
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
  if (!(Number.isInteger(seed) && seed >= 0))
    throw new TypeError(`--seed is ${JSON.stringify(values.seed)}; want a whole number from 0`);
  const only = phases.find((phase) => phase === values.only);
  if (values.only !== undefined && only === undefined)
    throw new TypeError(`--only is ${JSON.stringify(values.only)}; want one of ${phases.join(', ')}`);
  return { minutes, only, unguarded: values.unguarded, seed, json: values.json };
}

try {
  const options = readOptions();
  if (options === undefined) console.log(help);
  else if (!(await main(options))) process.exitCode = 1;
} catch (error) {
  process.stderr.write(`${error instanceof TypeError ? error.message : String((error as Error).stack)}\n`);
  process.exitCode = 2;
}
