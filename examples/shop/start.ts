import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import {
  createSampler,
  findHeadroom,
  objectivesOf,
  progressLine,
  renderProgress,
  renderReport,
  type LoadReport,
} from '@plimsoll/cli/load';
import { startChild, untilStopped, type Child } from '@plimsoll/cli/process';
import { startCluster } from '@plimsoll/embedded';
import { migrationsOf, type Plan } from 'plimsoll';
import { createDatabase, migrate } from 'plimsoll/database';
import { demonstrateFixes, watchMs } from './faulty/demonstrate.ts';
import { makeFaulty } from './faulty/history.ts';
import type { Handlers } from './faulty/prove-fixes.ts';
import { measurePatterns } from './patterns/measure-patterns.ts';
import { importRetail, type ImportReport } from './retail/import.ts';
import { readWeek } from './retail/week.ts';
import { startOutside } from './start-outside.ts';
import { createShopScenario } from './traffic/scenario.ts';

const help = `npm start: the shop on real data, loaded until its objectives break

Usage: npm start -- [options]

  --exit                end after the report (exit code 0) instead of serving on
  --data <folder>       where the servers keep their data and all write their logs (default .plimsoll/shop)
  --fresh               throw away the data directory and begin anew
  --pool <number>       database connections per server (default: the plan's)
  --port <number>       HTTP port of the shop (default 3000, or any free one when that is taken)
  --duration <seconds>  length of each measurement (default 60)
  --seed <number>       plan the same requests as an earlier run
  --max-rps <number>    never offer more than this
  --faulty              the shop with two faults: measure it, let the doctor find them, fix one after the other
                        and measure again after each; about four minutes, three measurements of --duration
  --patterns            measure it without replicas and caches, with a replica, and with both, while customers check
                        that they are shown what they have written and seen; three measurements of --duration
  --json                the report as JSON on standard output
  --help                this page

DATABASE_URL and DATABASE_REPLICA_URLS (separated by commas) use your own servers instead of the embedded ones.`;

/** Few, so that the customers who check meet each other's writes. */
const checkedProducts = 40;

const started = performance.now();
const elapsed = (): string => `${((performance.now() - started) / 1_000).toFixed(1).padStart(6)} s`;
/** People read standard error; standard output is for the report. */
const say = (line: string): void => void process.stderr.write(`${elapsed()}  ${line}\n`);

interface Options {
  readonly exit: boolean;
  readonly fresh: boolean;
  readonly faulty: boolean;
  readonly patterns: boolean;
  readonly json: boolean;
  /** Undefined: 3000, or any free one when that is taken. */
  readonly port: number | undefined;
  readonly durationMs: number;
  readonly seed: number | undefined;
  readonly maxRps: number | undefined;
  readonly pool: string | undefined;
  /** Undefined: a folder of the workspace. */
  readonly data: string | undefined;
}

async function main(options: Options): Promise<void> {
  const stop = new AbortController();
  const stopped = untilStopped().then((why) => stop.abort(new Error(why)));
  // Data of its own: the faults must not reach the shop without them.
  const folder = options.faulty ? '../../.plimsoll/shop-faulty' : '../../.plimsoll/shop';
  const directory = options.data ?? join(import.meta.dirname, folder);
  const dataDir = join(directory, 'data');
  await mkdir(directory, { recursive: true });

  await using servers = new AsyncDisposableStack();
  const { url, replicaUrls, caughtUp } = await openDatabase(servers, dataDir, options.fresh);
  const { bankUrl, smtpUrl } = await startOutside(servers, directory);
  const env = {
    DATABASE_URL: url,
    DATABASE_REPLICA_URLS: replicaUrls.join(','),
    BANK_URL: bankUrl,
    SMTP_URL: smtpUrl,
  };
  say(`bank at ${bankUrl}, mail sink at ${env.SMTP_URL}`);

  // The plan reads the environment when it is loaded.
  Object.assign(process.env, env);
  const plan = ((await import('./plimsoll.plan.ts')) as { default: Plan }).default;
  await prepareData(plan, url, options.faulty);

  const logFile = join(directory, 'shop.log');
  const args = [
    'start',
    '--port',
    String(await choosePort(options.port)),
    ...(options.pool === undefined ? [] : ['--pool', options.pool]),
  ];
  const cli = join(import.meta.dirname, '../../packages/cli/bin/plimsoll.js');
  // The shop is another one after each restart; the last is stopped before the servers it uses.
  const running: { shop?: Child } = {};
  servers.defer(() => running.shop?.stop());
  const startShop = async (variables: Readonly<Record<string, string>>): Promise<string> => {
    const earlier = running.shop;
    delete running.shop;
    await earlier?.stop();
    const shopEnv = { ...env, SHOP_FAULTY: '0', ...variables };
    const child = await startChild({
      name: 'the shop',
      file: cli,
      args,
      env: shopEnv,
      cwd: import.meta.dirname,
      logFile,
    });
    running.shop = child;
    void child.ended.then((how) => {
      if (running.shop === child)
        stop.abort(new Error(`the shop ended (${how}); see ${relative(process.cwd(), logFile)}`));
    });
    const { url: shopUrl } = child.ready as { url: string };
    say(`shop serving at ${shopUrl}, its log in ${relative(process.cwd(), logFile)}`);
    return shopUrl;
  };

  const { signal } = stop;
  // One seed for all measurements, so that they send the same requests.
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 31);
  const measureAt = (at: string): Promise<LoadReport> =>
    measure(plan, at, [url, ...replicaUrls], { ...options, seed }, signal);
  if (options.faulty) {
    // Half a minute for starts, fixes, and the orders that each measurement leaves to be finished.
    const minutes = Math.ceil((3 * options.durationMs + 2 * watchMs + 30_000) / 60_000);
    say(`measured, diagnosed, two faults fixed, each fix measured: about ${minutes} minutes, seed ${seed}`);
    try {
      await demonstrateFixes({
        databaseUrl: url,
        replicaUrls,
        caughtUp,
        restart: (handlers: Handlers) => startShop({ SHOP_FAULTY: handlers === 'faulty' ? '1' : '0' }),
        measure: measureAt,
        say,
        json: options.json,
        signal,
      });
    } catch (error) {
      if (!signal.aborted) throw error;
      say(`stopped: ${(signal.reason as Error).message}`);
    }
  } else if (options.patterns) {
    say(
      `three measurements, about ${Math.ceil((3 * options.durationMs + 20_000) / 60_000)} minutes, seed ${seed}`,
    );
    const { products } = await readWeek();
    const skus = [...products.keys()].slice(0, checkedProducts);
    const measured = await measurePatterns({
      replicaUrls,
      restart: startShop,
      measure: measureAt,
      skus,
      say,
      json: options.json,
    });
    if (measured.some(({ checked }) => checked.violations.length > 0)) process.exitCode = 1;
  } else printReport(await measureAt(await startShop({})), options);
  if (options.exit || signal.aborted) return;
  const { shop } = running;
  if (shop === undefined) return;
  const target = (shop.ready as { url: string }).url;
  say('still serving:');
  for (const path of [
    '/products?text=lantern',
    '/products/85123A',
    '/customers/17850/orders',
    '/-/telemetry',
  ]) {
    say(`  ${target}${path}`);
  }
  say('Ctrl-C ends it');
  await Promise.race([stopped, shop.ended]);
  say('draining');
}

interface Servers {
  readonly url: string;
  readonly replicaUrls: readonly string[];
  readonly caughtUp: () => Promise<void>;
}

async function openDatabase(
  servers: AsyncDisposableStack,
  dataDir: string,
  fresh: boolean,
): Promise<Servers> {
  const given = process.env['DATABASE_URL'];
  if (given !== undefined && given !== '') {
    say('using the PostgreSQL of DATABASE_URL');
    return {
      url: given,
      replicaUrls: (process.env['DATABASE_REPLICA_URLS'] ?? '')
        .split(',')
        .filter((part) => part.trim() !== ''),
      caughtUp: () => Promise.resolve(),
    };
  }
  say('starting PostgreSQL 18, a primary and a replica');
  const cluster = servers.use(await startCluster({ replicas: 1, dataDir, fresh, log: say }));
  const replicaUrls = cluster.replicas.map((replica) => replica.url);
  say(
    `primary on port ${cluster.primary.port}, replica on port ${cluster.replicas[0]?.port}, data ${cluster.fresh ? 'made' : 'kept from an earlier start'}`,
  );
  const caughtUp = async (): Promise<void> => {
    for (const replica of cluster.replicas) await replica.caughtUp();
  };
  return { url: cluster.primary.url, replicaUrls, caughtUp };
}

async function choosePort(wanted: number | undefined): Promise<number> {
  if (wanted !== undefined) return wanted;
  const probe = createServer().listen(3000, '127.0.0.1');
  const free = await once(probe, 'listening').then(
    () => true,
    () => false,
  );
  probe.close();
  if (!free) say('port 3000 is taken by another program, so the shop takes any free one');
  return free ? 3000 : 0;
}

async function prepareData(plan: Plan, url: string, faulty: boolean): Promise<void> {
  await using database = createDatabase({ url, applicationName: 'shop import' });
  const { applied } = await migrate(database, migrationsOf(plan));
  const report = await importRetail(database);
  say(`${applied.length} migrations applied`);
  for (const line of describeImport(report)) say(line);
  if (!faulty) return;
  const history = await makeFaulty(database);
  const [orders, lines] = [history.orders, history.lines].map((count) => count.toLocaleString('en-GB'));
  say(`faulty: ${orders} generated orders with ${lines} lines as history; no index on orders by customer`);
}

function describeImport(report: ImportReport): readonly string[] {
  const number = (value: number): string => value.toLocaleString('en-GB');
  const { rows, sold, orders, returned, returns, products, customers } = report;
  const reasons = Object.entries(report.skipped).filter(([, count]) => count > 0);
  const skipped = reasons.reduce((sum, [, count]) => sum + count, 0);
  return [
    `${report.alreadyDone ? 'imported by an earlier start' : 'imported'}: ${number(rows)} rows of a real week = ${number(sold)} lines in ${number(orders)} orders + ${number(returned)} in ${number(returns)} returns + ${number(skipped)} left out`,
    `left out: ${reasons.map(([reason, count]) => `${count} ${reason}`).join(', ')}; ${number(products)} products, ${number(customers)} customers`,
  ];
}

async function measure(
  plan: Plan,
  target: string,
  databaseUrls: readonly string[],
  options: Options,
  signal: AbortSignal,
): Promise<LoadReport> {
  const scenario = await createShopScenario();
  say(`replaying ${scenario.name} for ${options.durationMs / 1_000} s`);
  const progress = progressLine();
  return findHeadroom({
    target,
    scenario,
    objectives: objectivesOf(plan),
    expectedPeakRps: plan.expectedPeak.requestsPerSecond,
    durationMs: options.durationMs,
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(options.maxRps === undefined ? {} : { maxRps: options.maxRps }),
    sample: await createSampler(target, databaseUrls),
    signal,
    onProgress: (now) => progress.show(renderProgress(now, progress.style)),
  }).finally(() => progress.end());
}

function printReport(report: LoadReport, options: Options): void {
  const color = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
  const width = Math.min(100, process.stdout.columns ?? 100);
  process.stdout.write(
    options.json
      ? `${JSON.stringify(report, null, 2)}\n`
      : `\n${renderReport(report, { color, width, command: 'npm start --' })}\n`,
  );
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      exit: { type: 'boolean' },
      fresh: { type: 'boolean' },
      faulty: { type: 'boolean' },
      patterns: { type: 'boolean' },
      json: { type: 'boolean' },
      pool: { type: 'string' },
      data: { type: 'string' },
      port: { type: 'string' },
      duration: { type: 'string', default: '60' },
      seed: { type: 'string' },
      'max-rps': { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) return undefined;
  const problems: string[] = [];
  const number = (name: string, text: string, min: number, max: number): number => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= min && value <= max))
      problems.push(`--${name} is ${JSON.stringify(text)}; want a number from ${min} to ${max}`);
    return value;
  };
  const port = values.port === undefined ? undefined : number('port', values.port, 0, 65_535);
  const durationMs = number('duration', values.duration, 5, 3_600) * 1_000;
  const seed = values.seed === undefined ? undefined : number('seed', values.seed, 0, 2 ** 31);
  const maxRps =
    values['max-rps'] === undefined ? undefined : number('max-rps', values['max-rps'], 1, 1_000_000);
  if (values.pool !== undefined) number('pool', values.pool, 1, 1_000);
  if (values.faulty === true && (process.env['DATABASE_URL'] ?? '') !== '')
    problems.push(
      '--faulty drops an index and adds orders, so it never uses the database of DATABASE_URL; unset that',
    );
  if (values.faulty === true && values.patterns === true)
    problems.push('--faulty and --patterns each measure a shop of their own; give one');
  if (problems.length > 0) throw new TypeError(problems.join('\n'));
  return {
    exit: values.exit === true,
    fresh: values.fresh === true,
    faulty: values.faulty === true,
    patterns: values.patterns === true,
    json: values.json === true,
    port,
    durationMs,
    seed,
    maxRps,
    pool: values.pool,
    data: values.data,
  };
}

try {
  const options = readOptions();
  if (options === undefined) process.stdout.write(`${help}\n`);
  else await main(options);
} catch (error) {
  process.stderr.write(`npm start: ${explain(error)}\n`);
  process.exitCode = 1;
}

/** A wrong option and an error with a code of ours explain themselves; for others the stack helps. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error ? String(error.code) : '';
  if (code === 'PL_MIGRATION_CHANGED') return `${error.message}\nOr begin anew with  npm start -- --fresh`;
  return error instanceof TypeError || code.startsWith('PL_') || code.startsWith('ERR_PARSE_ARGS')
    ? error.message
    : String(error.stack);
}
