import { startCluster } from '@plimsoll/embedded';
import pg from 'pg';
import { createDatabase, migrate, routingMigrations, Seen, sql, type Database } from 'plimsoll/database';
import { rowOf, shuffled, type Area, type Row } from '../report.ts';
import { lagCells, lagCellsMs, lagRows, lagSettings } from './lag.ts';
import { startDelayProxy } from './proxy.ts';

interface Subject {
  readonly name: string;
  readonly setting: string;
  run(n: number): Promise<unknown>;
}

/** Of one subject in one round. */
interface Taken {
  readonly case: string;
  readonly subject: string;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly calls: number;
}

const delayMs = 2.5;
const rowsInTable = 1_000;
/** Subjects take turns after this many calls, so that what disturbs one disturbs all. */
const turnOf = { read: 50, commit: 10 } as const;

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

async function roundOf(
  name: string,
  subjects: readonly Subject[],
  calls: number,
  turn: number,
): Promise<readonly Taken[]> {
  const times = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]));
  for (let done = 0; done < calls; done += turn) {
    for (const subject of shuffled(subjects)) {
      for (let n = 0; n < turn; n += 1) {
        const beganMs = performance.now();
        await subject.run(done + n);
        times.get(subject)?.push(performance.now() - beganMs);
      }
    }
  }
  return [...times].map(([subject, all]) => {
    const sorted = all.toSorted((a, b) => a - b);
    return {
      case: name,
      subject: subject.name,
      p50Ms: quantile(sorted, 0.5),
      p95Ms: quantile(sorted, 0.95),
      calls: all.length,
    };
  });
}

function rowsFrom(taken: readonly Taken[]): readonly Row[] {
  const groups = Map.groupBy(taken, (each) => `${each.case}\n${each.subject}`);
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const of = { case: first.case, subject: first.subject, unit: 'ms' };
    return [
      rowOf(
        { ...of, metric: 'p50' },
        group.map(({ p50Ms }) => p50Ms),
      ),
      rowOf(
        { ...of, metric: 'p95' },
        group.map(({ p95Ms }) => p95Ms),
      ),
    ];
  });
}

const plainRead = 'select id, balance from account where id = $1';

function readers(database: Database, replica: pg.Pool): readonly Subject[] {
  const seen = new Seen();
  return [
    {
      name: 'plain pg, the same replica',
      setting: 'pool.query with one parameter',
      run: (n) => replica.query(plainRead, [n % rowsInTable]),
    },
    {
      name: 'plimsoll, routed with a token',
      setting: 'readOnly at the level session; its reader has written and read before',
      async run(n) {
        if (n === 0) await database.transaction((tx) => tx.execute(deposit(0)), { seen });
        return database.readOnly(
          (db) => db.one(sql`select id, balance from account where id = ${n % rowsInTable}`),
          { seen },
        );
      },
    },
    {
      name: 'plimsoll, eventual',
      setting: 'readOnly at the level eventual: no position is noted',
      run: (n) =>
        database.readOnly(
          (db) => db.one(sql`select id, balance from account where id = ${n % rowsInTable}`),
          { consistency: 'eventual' },
        ),
    },
  ];
}

const deposit = (id: number): ReturnType<typeof sql> =>
  sql`update account set balance = balance + 1 where id = ${id}`;

function writers(database: Database, primary: pg.Pool): readonly Subject[] {
  const seen = new Seen();
  const plain = async (n: number, withPosition: boolean): Promise<void> => {
    const client = await primary.connect();
    await client.query('begin');
    await client.query('update account set balance = balance + 1 where id = $1', [n % rowsInTable]);
    await client.query('commit');
    if (withPosition) await client.query('select pg_current_wal_flush_lsn()');
    client.release();
  };
  return [
    {
      name: 'plain pg, BEGIN/UPDATE/COMMIT',
      setting: 'three messages on one client',
      run: (n) => plain(n, false),
    },
    {
      name: 'plain pg, and then SELECT lsn',
      setting: 'a fourth message, as a router does that asks for the position by itself',
      run: (n) => plain(n, true),
    },
    {
      name: 'plimsoll, commit with a token',
      setting: 'transaction with one statement; the position comes with the answer of COMMIT',
      run: (n) => database.transaction((tx) => tx.execute(deposit(n % rowsInTable)), { seen }),
    },
  ];
}

/**
 * What routing costs: a read that follows its reader's position beside plain `pg` on the same replica, and a commit that
 * learns its position beside plain `pg`, directly and with 2.5 ms each way between. And what it gives: reads on
 * replicas, and own writes that they hide, beside what is done elsewhere, by how late the replicas are.
 */
export const bench: Area = async (options) => {
  const costs = await costOf({ ...options, timeLeftMs: () => options.timeLeftMs() - lagCellsMs });
  const cells = await lagCells(options.timeLeftMs, options.say);
  return {
    rows: [...costs.rows, ...lagRows(cells)],
    settings: { ...costs.settings, ...lagSettings },
    raw: { costs: costs.raw, lag: cells },
  };
};

const costOf: Area = async ({ rounds = 5, timeLeftMs, say }) => {
  say('bench: PostgreSQL with one replica');
  await using cluster = await startCluster({ replicas: 1 });
  const server = await cluster.createDatabase();
  const [replicaUrl = ''] = server.replicaUrls;
  const replicaPool = new pg.Pool({ connectionString: replicaUrl, max: 1 });
  const primaryPool = new pg.Pool({ connectionString: server.url, max: 1 });
  await using proxy = await startDelayProxy(server.url, delayMs);
  const farPool = new pg.Pool({ connectionString: proxy.url, max: 1 });
  await using database = createDatabase({ url: server.url, replicaUrls: [replicaUrl] });
  await using far = createDatabase({ url: proxy.url, pool: { max: 1 } });
  await migrate(database, [routingMigrations]);
  await database.execute(sql`create table account (id int primary key, balance int not null)`);
  await database.execute(
    sql`insert into account select n, 0 from generate_series(0, ${rowsInTable - 1}::int) n`,
  );
  await Promise.all(cluster.replicas.map((replica) => replica.caughtUp()));
  await database.ping();
  const cases = [
    { name: 'a read', subjects: readers(database, replicaPool), calls: 1_000, turn: turnOf.read },
    { name: 'a commit', subjects: writers(database, primaryPool), calls: 300, turn: turnOf.commit },
    {
      name: `a commit, ${delayMs} ms each way`,
      subjects: writers(far, farPool),
      calls: 60,
      turn: turnOf.commit,
    },
  ];
  const taken: Taken[] = [];
  const before = database.routing();
  try {
    for (const each of cases) await roundOf(each.name, each.subjects, each.turn * 2, each.turn);
    for (let round = 0; round < rounds && timeLeftMs() > 0; round += 1) {
      say(`bench: round ${round + 1} of ${rounds}`);
      for (const { name, subjects, calls, turn } of cases)
        taken.push(...(await roundOf(name, subjects, calls, turn)));
    }
  } finally {
    await Promise.all([replicaPool, primaryPool, farPool].map((pool) => pool.end()));
  }
  const after = database.routing();
  const reads = after.reads - before.reads;
  const offloaded = after.reads * after.offload - before.reads * before.offload;
  const settings: Record<string, string> = {
    proxy: `each chunk of bytes is passed on ${delayMs} ms after it came, each way, by a timer of Node, which is later than that on a busy machine`,
  };
  for (const { subjects } of cases) for (const { name, setting } of subjects) settings[name] = setting;
  const share = rowOf(
    { case: 'a read', subject: 'plimsoll, both', metric: 'served by the replica', unit: '%' },
    [(100 * offloaded) / reads],
  );
  return { rows: [...rowsFrom(taken), share], settings, raw: taken };
};
