import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { startCluster } from '@plimsoll/embedded';
import { sql } from 'plimsoll';
import { createDatabase } from 'plimsoll/database';
import { slowOperation, type Proof } from './prove-fixes.ts';

const isListening = async (port: number): Promise<boolean> => {
  const socket = connect(port, '127.0.0.1');
  const answered = await once(socket, 'connect').then(
    () => true,
    () => false,
  );
  socket.destroy();
  return answered;
};

test(
  'npm start -- --faulty --exit measures, diagnoses, fixes and measures again, and leaves nothing running',
  { timeout: 300_000 },
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'plimsoll-start-'));
    onTestFinished(() => rm(directory, { recursive: true, force: true }));
    const faulty = ['--faulty', '--exit', '--json', '--data', directory];
    const short = ['--port', '0', '--seed', '1', '--duration', '10', '--max-rps', '250'];
    const child = spawn(
      process.execPath,
      ['--conditions=plimsoll:source', join(import.meta.dirname, '../start.ts'), ...faulty, ...short],
      {
        env: { ...process.env, DATABASE_URL: '', DATABASE_REPLICA_URLS: '' },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    onTestFinished(() => void child.kill());
    const [out, err, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close'),
    ]);
    expect({ code, err }).toMatchObject({ code: 0 });

    const { before, measurements, after } = JSON.parse(out) as Proof;
    expect(before.findings.map(({ rule }) => rule).toSorted()).toEqual(['missing-index', 'n-plus-one']);
    expect(before.findings.every(({ operations }) => operations.includes(slowOperation))).toBe(true);
    expect(after.findings.filter(({ operations }) => operations.includes(slowOperation))).toEqual([]);

    // Every one was measured, with the same requests; which is better is for the report of a longer run.
    expect(measurements.map(({ name }) => name).toSorted()).toEqual([
      '+ index on orders.orders',
      '+ no N+1 queries',
      'with both faults',
    ]);
    const planned = measurements.map(({ load }) => load.steps[0]!.planned);
    expect(new Set(planned).size).toBe(1);
    for (const { load } of measurements) {
      expect(load).toMatchObject({ seed: 1, settings: { budgetMs: 10_000, maxRps: 250 } });
      expect(load.steps[0]!.operations[slowOperation]!.count).toBeGreaterThan(0);
    }
    // Counted by the doctor before: a measurement cancels executions half-way when it overloads the shop.
    const slow = before.findings.filter((finding) => finding.rule !== 'missed-invalidation');
    const loop = slow.find(({ rule }) => rule === 'n-plus-one')!;
    expect(loop.gain.before).toBeGreaterThan(8);
    expect(measurements.at(-1)!.statementsPerExecution).toBeLessThan(2);

    // For people: both looks of the doctor and the table.
    expect(err).toMatch(/doctor: 2 findings/);
    expect(err).toMatch(/Headroom [^]+?\n +headroom +held +fails at/);
    expect(err).toMatch(/ {2}\+ no N\+1 queries .+\n/);

    const ports = [...err.matchAll(/(?:127\.0\.0\.1:|port )(\d+)/g)].map(([, port]) => Number(port));
    // Two servers of PostgreSQL, the bank, the mail server and the shop three times.
    expect(new Set(ports).size).toBeGreaterThanOrEqual(7);
    for (const port of new Set(ports))
      expect({ port, is: await isListening(port) }).toEqual({ port, is: false });

    // The fix was made for real, by the very name that the doctor gave.
    await using cluster = await startCluster({ dataDir: join(directory, 'data'), replicas: 1 });
    await using database = createDatabase({ url: cluster.primary.url, pool: { max: 1 } });
    const index = slow.find(({ rule }) => rule === 'missing-index')!;
    const { text: made } = await database.one<{ text: string }>(
      sql`select indexdef as text from pg_indexes where tablename = 'orders' and indexdef like '%(customer_id, %'`,
    );
    expect(made.toLowerCase().replace(' using btree', '')).toBe(
      index.fix.sql!.replace(' concurrently', '').replace(';', ''),
    );
  },
);
