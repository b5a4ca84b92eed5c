import pg from 'pg';
import type { Happened, Strategy } from './strategy.ts';

export const writers = 16;
const keys = 200;
const rolledBack = 0.1;
/** Transactions that have an id of their own before they write their event, by writing something else. */
const early = 0.3;

/** An event that was committed, and when its writer was told so. */
export interface Committed extends Happened {
  readonly atMs: number;
}

export const preparation = `
  create table counter (key text primary key, n bigint not null);
  create table bystander (at timestamptz not null)`;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
/** Milliseconds that a transaction thinks: mostly a few, seldom a fifth of a second. */
const thinking = (): number => (Math.random() < 0.01 ? Math.random() * 200 : Math.random() * 10);

/**
 * Transactions one after the other in each of so many writers. Each takes the row of its key first and gives its event
 * the next number of that key, so that numbers of a key follow its commits.
 */
export async function write(strategy: Strategy, url: string, forMs: number): Promise<readonly Committed[]> {
  const pool = new pg.Pool({ connectionString: url, max: writers });
  const committed: Committed[] = [];
  const untilMs = performance.now() + forMs;
  async function one(client: pg.PoolClient): Promise<void> {
    const key = `k${Math.floor(Math.random() * keys)}`;
    await client.query('begin');
    if (Math.random() < early) await client.query('insert into bystander values (now())');
    await pause(thinking());
    const { rows } = await client.query<{ n: string }>(
      'insert into counter values ($1, 1) on conflict (key) do update set n = counter.n + 1 returning n',
      [key],
    );
    const event = { key, n: Number(rows[0]?.n) };
    await strategy.emit(client, event);
    await pause(thinking());
    if (Math.random() < rolledBack) return void (await client.query('rollback'));
    await client.query('commit');
    committed.push({ ...event, atMs: performance.now() });
  }
  try {
    await Promise.all(
      Array.from({ length: writers }, async () => {
        const client = await pool.connect();
        try {
          while (performance.now() < untilMs) await one(client);
        } finally {
          client.release();
        }
      }),
    );
  } finally {
    await pool.end();
  }
  return committed;
}

/** A transaction that wrote something, nothing about events, and then stays open. */
export async function stayOpen(url: string, afterMs: number, forMs: number): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await pause(afterMs);
  await client.query('begin');
  await client.query('insert into bystander values (now())');
  await pause(forMs);
  await client.query('commit');
  await client.end();
}
