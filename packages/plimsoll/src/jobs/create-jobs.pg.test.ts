import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { createWorker } from '../durable/worker.ts';
import { queries, type QueryMessage } from '../kernel/channels.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { createJobs } from './create-jobs.ts';
import type { Jobs } from './jobs.ts';
import { jobHandler } from './job-handler.ts';

let server: TestDatabase;
let database: Database;
let jobs: Jobs;
const statements: string[] = [];
const listen = ({ scope, text }: QueryMessage): void => {
  if (scope === database.scope) statements.push(text);
};

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
  jobs = createJobs({ database });
});
afterAll(async () => {
  await database?.close();
  await server?.drop();
});
beforeEach(() => database.execute(sql`truncate plimsoll.task`));

const soon = { timeout: 10_000, interval: 10 };
const count = async (): Promise<number> =>
  (await database.one<{ n: number }>(sql`select count(*)::int as n from plimsoll.task`)).n;

describe('add', () => {
  test('is there when it resolves; many at once share statements, each in its own context', async () => {
    const stop = queries.subscribe(listen);
    statements.length = 0;
    try {
      const ids = await Promise.all(
        Array.from({ length: 300 }, (_, n) =>
          runInContext(createContext({ correlationId: `request-${n}` }), () => jobs.add('work', { n })),
        ),
      );
      expect(new Set(ids).size).toBe(300);
    } finally {
      stop();
    }
    expect(
      statements.filter((text) => text.includes('insert into plimsoll.task')).length,
    ).toBeLessThanOrEqual(3);
    const rows = await database.query<{ n: number; correlation: string }>(
      sql`select (payload->>'n')::int as n, correlation_id as correlation from plimsoll.task order by 1`,
    );
    expect(rows).toEqual(Array.from({ length: 300 }, (_, n) => ({ n, correlation: `request-${n}` })));
  });

  test('one that the database refuses fails alone', async () => {
    const added = await Promise.allSettled([
      jobs.add('work', 'fine'),
      jobs.add('work', 'a zero \u0000 byte'),
      jobs.add('work', 'fine too'),
    ]);
    expect(added.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await count()).toBe(2);
  });

  test('a database that is away is told to each', async () => {
    const away = createDatabase({ url: 'postgres://nobody@127.0.0.1:1/none' });
    const added = await Promise.allSettled([createJobs({ database: away }).add('work', 1)]);
    expect(added).toMatchObject([{ status: 'rejected' }]);
    await away.close();
  });
});

test('addAll is all or none, however many', async () => {
  const many = Array.from({ length: 2_500 }, (_, input) => ({ name: 'work', input }));
  expect(await jobs.addAll(many)).toHaveLength(2_500);
  expect(await count()).toBe(2_500);
  await expect(jobs.addAll([...many, { name: 'work', input: '\u0000' }])).rejects.toThrow();
  expect(await count()).toBe(2_500);
  expect(await jobs.addAll([])).toEqual([]);
});

test('who only adds wakes the workers of other processes, which do not poll for it', async () => {
  const ran: unknown[] = [];
  const other = createDatabase({ url: server.url });
  const worker = createWorker({
    database: other,
    handlers: new Map([['work', jobHandler(other, async (input) => void ran.push(input))]]),
    pollMs: 3_600_000,
    reclaimMs: 3_600_000,
  });
  await worker.start();
  try {
    await expect.poll(() => worker.status(), soon).toMatchObject({ presence: 'session' });
    for (let n = 0; n < 3; n += 1) {
      await jobs.add('work', n);
      await expect.poll(() => ran, soon).toHaveLength(n + 1);
    }
  } finally {
    await worker.stop();
    await other.close();
  }
});

test('deals with jobs by id and by what they are', async () => {
  const id = await jobs.add('work', 1, { delayMs: 3_600_000 });
  expect(await jobs.status(id)).toMatchObject({ state: 'queued' });
  expect(await jobs.cancel(id, 'no')).toEqual({ state: 'cancelled' });
  expect(await jobs.cancel(id, 'no')).toBeUndefined();
  const dead = await jobs.add('work', 2);
  await database.execute(
    sql`update plimsoll.task set state = 'parked', parked_at = now(), last_error = '{"message": "x"}' where id = ${dead}`,
  );
  expect(await jobs.deadLetters()).toMatchObject([{ id: dead, payload: 2 }]);
  expect(await jobs.replay({ name: 'work' })).toBe(1);
  expect(await jobs.replay({ name: 'work' })).toBe(0);
  expect(await jobs.discard({ name: 'work' })).toBe(0);
});
