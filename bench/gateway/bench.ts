import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { startCluster } from '@plimsoll/embedded';
import pg from 'pg';
import { Pool } from 'undici';
import { median, rowOf, shuffled, type Area } from '../report.ts';

const defaultRounds = 20;
const burstMs = 1_000;
const connections = 16;
const baseline = 'fastify';
const cases = { hello: '/hello?name=ada', 'three queries': '/three?id=7' } as const;
type Case = keyof typeof cases;

const settings = {
  fastify: 'zod on input and output, pg pool of 10, no logger, nothing measured',
  plimsoll:
    'gateway with all limits, zod on input and output, pool of 10, telemetry, pino line per request, spans of 10 % to a collector',
  nest: 'Nest on Fastify, zod on input and output, pg pool of 10, no logger, nothing measured',
  'fastify + otel':
    'as fastify, with OpenTelemetry auto-instrumentation, @fastify/otel, metrics, spans of 10 % to a collector, pino as Fastify sets it up',
} as const;
const files: Readonly<Record<keyof typeof settings, string>> = {
  fastify: 'fastify.ts',
  plimsoll: 'plimsoll.ts',
  nest: 'nest.ts',
  'fastify + otel': 'fastify-otel.ts',
};

interface Server {
  readonly name: string;
  readonly child: ChildProcess;
  readonly pool: Pool;
}
interface Burst {
  readonly cpuUs: number;
  readonly perSecond: number;
}

/** Each server in a process of its own, loaded from this one, closed loop, one burst at a time. */
export const bench: Area = async ({ rounds = defaultRounds, timeLeftMs, say }) => {
  const closing: (() => Promise<unknown>)[] = [];
  try {
    say('bench: starting PostgreSQL, a collector and the servers');
    const cluster = await startCluster();
    closing.push(() => cluster.stop());
    await fill(cluster.primary.url);
    // Who sends spans of statements and metrics, by what is in the bodies: a peer that is not instrumented wins by fraud.
    const traced = new Set<string>();
    const collector = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        const json = request.headers['content-type'] === 'application/json';
        if (request.url === '/v1/traces' && body.includes('bench.item'))
          traced.add(json ? 'plimsoll' : 'fastify + otel');
        response.end();
      });
    }).listen(0, '127.0.0.1');
    await once(collector, 'listening');
    closing.push(async () => {
      collector.closeAllConnections();
      collector.close();
    });
    const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
    const servers: Server[] = [];
    closing.push(() => Promise.all(servers.map(stop)));
    for (const [name, file] of Object.entries(files))
      servers.push(await start(name, file, cluster.primary.url, endpoint));

    const raw: ({ readonly round: number; readonly case: Case; readonly subject: string } & Burst)[] = [];
    for (const server of servers) {
      for (const each of Object.keys(cases) as Case[]) await burst(server, cases[each]);
    }
    const roundMs = servers.length * Object.keys(cases).length * (burstMs + 50);
    for (let round = 0; round < rounds && timeLeftMs() > roundMs * 1.5; round += 1) {
      for (const each of shuffled(Object.keys(cases) as Case[])) {
        for (const server of shuffled(servers))
          raw.push({ round, case: each, subject: server.name, ...(await burst(server, cases[each])) });
      }
    }
    for (const subject of ['plimsoll', 'fastify + otel'])
      if (!traced.has(subject)) throw new Error(`${subject} has sent no span of a statement`);
    if (raw.length === 0) throw new Error('no round fitted into the time; give --seconds more');

    const values = (of: Case, subject: string): Burst[] =>
      raw.filter((one) => one.case === of && one.subject === subject);
    const rows = (Object.keys(cases) as Case[]).flatMap((of) =>
      Object.keys(settings).flatMap((subject) => {
        const own = values(of, subject);
        const base = values(of, baseline);
        const ratios = own.map(({ cpuUs }, index) => cpuUs / (base[index]?.cpuUs ?? Number.NaN));
        const about = { case: of, subject };
        return [
          rowOf(
            { ...about, metric: 'CPU per request', unit: 'us' },
            own.map(({ cpuUs }) => cpuUs),
          ),
          rowOf({ ...about, metric: `CPU to ${baseline}, same round`, unit: 'x' }, ratios),
          rowOf(
            { ...about, metric: 'throughput', unit: 'req/s' },
            own.map(({ perSecond }) => perSecond),
          ),
        ];
      }),
    );
    const at = (subject: string): number =>
      median(
        values('three queries', subject).map(
          ({ cpuUs }, index) => cpuUs / (values('three queries', baseline)[index]?.cpuUs ?? Number.NaN),
        ),
      );
    say(
      `three queries: Plimsoll at ${at('plimsoll').toFixed(2)} of raw Fastify's CPU, the usual stack at ${at('fastify + otel').toFixed(2)}`,
    );
    return { rows, raw, settings };
  } finally {
    for (const end of closing.toReversed()) await end();
  }
};

async function fill(url: string): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  await client.query('create schema bench');
  await client.query('create table bench.item (id int primary key, name text not null, val int not null)');
  await client.query("insert into bench.item select n, 'item ' || n, n % 97 from generate_series(1, 2000) n");
  await client.query('analyze bench.item');
  await client.end();
}

async function start(name: string, file: string, databaseUrl: string, endpoint: string): Promise<Server> {
  const child = fork(path.join(import.meta.dirname, 'servers', file), {
    // Log lines cost their writing, and go nowhere.
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: ['--conditions=plimsoll:source'],
    env: {
      ...process.env,
      NODE_ENV: 'production',
      DATABASE_URL: databaseUrl,
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
      OTEL_SERVICE_NAME: 'bench',
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.1',
    },
  });
  const origin = await Promise.race([
    once(child, 'message').then(([message]) => message as string),
    once(child, 'exit').then(([code]) => {
      throw new Error(`the server ${name} ended with ${String(code)} before it listened`);
    }),
  ]);
  return { name, child, pool: new Pool(origin, { connections, pipelining: 1 }) };
}

async function stop({ child, pool }: Server): Promise<void> {
  await pool.destroy();
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** CPU time the server has used, in microseconds. */
async function cpuOf({ child }: Server): Promise<number> {
  const answered = once(child, 'message');
  child.send('cpu');
  const [used] = (await answered) as [number];
  return used;
}

async function burst(server: Server, target: string): Promise<Burst> {
  const before = await cpuOf(server);
  const began = performance.now();
  let requests = 0;
  async function caller(): Promise<void> {
    while (performance.now() - began < burstMs) {
      const { statusCode, body } = await server.pool.request({ path: target, method: 'GET' });
      const text = await body.text();
      if (statusCode !== 200)
        throw new Error(`${server.name} ${target}: ${statusCode} ${text.slice(0, 200)}`);
      requests += 1;
    }
  }
  await Promise.all(Array.from({ length: connections }, caller));
  const elapsedMs = performance.now() - began;
  const used = (await cpuOf(server)) - before;
  return { cpuUs: used / requests, perSecond: (requests / elapsedMs) * 1_000 };
}
