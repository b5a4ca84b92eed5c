import pg from 'pg';
import {
  command,
  contract,
  createApp,
  createContext,
  event,
  module,
  plan,
  runInContext,
  sql,
} from 'plimsoll';
import { migrate } from 'plimsoll/database';
import { createIdempotency, idempotencyMigrations } from 'plimsoll/idempotency';
import { fromPool } from 'plimsoll/pg';
import { z } from 'zod';

export interface Subject {
  readonly name: string;
  readonly setting: string;
  /** The same without a key, which its cost is compared with. */
  readonly baseline: string;
  /** One piece of work under a key; again, the same answer. Without keys, the work. */
  readonly work: (key: string) => Promise<unknown>;
  readonly keyed: boolean;
}

const sales = contract('sales', {
  place: command({ input: z.object({ sku: z.string() }), output: z.object({ id: z.number() }) }),
  tell: command({ input: z.object({ sku: z.string() }), output: z.object({ id: z.number() }) }),
  placed: event({ payload: z.object({ id: z.number() }) }),
});
const insert = (sku: string) => sql`insert into sales.purchase (sku) values (${sku}) returning id::int as id`;
const salesModule = module(sales, {
  owns: { schema: 'sales' },
  commands: {
    place: ({ sku }, { tx }) => tx.one<{ id: number }>(insert(sku)),
    async tell({ sku }, { tx, emit }) {
      const placed = await tx.one<{ id: number }>(insert(sku));
      emit(sales.placed, placed);
      return placed;
    },
  },
});

const insertText = 'insert into sales.purchase (sku) values ($1) returning id::int as id';

/** One insert and its answer, on a pool of ten, with and without a key. */
export async function openSubjects(
  url: string,
): Promise<{ readonly subjects: readonly Subject[]; close(): Promise<void> }> {
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  await pool.query(`
    create schema sales;
    create table sales.purchase (id bigint primary key generated always as identity, sku text not null);
    create table by_hand (key text primary key, answer jsonb, created_at timestamptz not null default now())`);
  const database = fromPool(pool);
  await migrate(database, [idempotencyMigrations]);
  const idempotency = createIdempotency({ database });
  const app = createApp(
    plan({
      name: 'bench',
      modules: [salesModule],
      database: { pool: { max: 10 } },
      boundaries: { statements: 'off' },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
    }),
    { databaseUrl: url, listen: false, strictCalls: false, jsonCalls: false },
  );
  await app.start();

  async function byHand(work: (client: pg.PoolClient) => Promise<unknown>): Promise<unknown> {
    const client = await pool.connect();
    try {
      await client.query('begin');
      const answer = await work(client);
      await client.query('commit');
      return answer;
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  }
  const once = (key: string | undefined): Promise<unknown> =>
    idempotency.once(
      { method: 'POST', route: '/orders', field: key, client: '', input: { sku: 'tea' } },
      async (tx) => ({ status: 201, body: await tx.one(insert('tea')) }),
    );
  const under = <T>(key: string, call: () => Promise<T>): Promise<T> =>
    runInContext(createContext({ key }), call);

  const plain = (name: string, setting: string, work: () => Promise<unknown>): Subject => ({
    name,
    setting,
    baseline: name,
    work,
    keyed: false,
  });
  const subjects: readonly Subject[] = [
    plain('pg', 'begin, insert, commit', () =>
      byHand(async (client) => (await client.query(insertText, ['tea'])).rows[0]),
    ),
    {
      name: 'pg, key by hand',
      baseline: 'pg',
      keyed: true,
      setting:
        'in one transaction: insert the key or read its answer, insert, update the key with the answer; no hash, no scope, waits for who is at it',
      work: (key) =>
        byHand(async (client) => {
          const claimed = await client.query('insert into by_hand (key) values ($1) on conflict do nothing', [
            key,
          ]);
          if (claimed.rowCount === 0)
            return (await client.query('select answer from by_hand where key = $1', [key])).rows[0];
          const answer: unknown = (await client.query(insertText, ['tea'])).rows[0];
          await client.query('update by_hand set answer = $2 where key = $1', [key, JSON.stringify(answer)]);
          return answer;
        }),
    },
    plain('route', 'createIdempotency on the same pool, no key', () => once(undefined)),
    {
      name: 'route, key',
      baseline: 'route',
      keyed: true,
      setting: 'createIdempotency on the same pool',
      work: once,
    },
    plain('command', 'a command of an app that inserts a row', () => app.call(sales.place, { sku: 'tea' })),
    {
      name: 'command, key',
      baseline: 'command',
      keyed: true,
      setting: 'the same under a key',
      work: (key) => under(key, () => app.call(sales.place, { sku: 'tea' })),
    },
    plain('command with event', 'a command that inserts a row and emits an event', () =>
      app.call(sales.tell, { sku: 'tea' }),
    ),
    {
      name: 'command with event, key',
      baseline: 'command with event',
      keyed: true,
      setting: 'the same under a key',
      work: (key) => under(key, () => app.call(sales.tell, { sku: 'tea' })),
    },
  ];
  return {
    subjects,
    async close() {
      await app.stop();
      await pool.end();
    },
  };
}
