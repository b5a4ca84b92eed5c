import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';

let server: TestDatabase;
let database: Database;
const running = new Set<ChildProcess>();

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url, pool: { max: 2 } });
});
afterAll(async () => {
  for (const child of running) child.kill('SIGKILL');
  await database.close();
  await server.drop();
});

async function start(dieAt?: string): Promise<ChildProcess> {
  const given = dieAt === undefined ? [server.url] : [server.url, dieAt];
  const child = fork(new URL('../../test/saga/trip-process.ts', import.meta.url), given, {
    execArgv: ['--conditions=plimsoll:source'],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  await once(child, 'message');
  return child;
}

/** In a step's transaction: in the command, with what is recorded, in the code after it; right after its COMMIT; on the way back. */
const points = [
  'in hotel',
  'after hotel',
  'between car',
  'committed travel.take',
  'in undo flight',
  'committed travel.giveBack',
];

test('killed in every phase, others end what was begun: once, or undone', { timeout: 120_000 }, async () => {
  const survivor = await start();
  const dying = await Promise.all(points.map((point) => start(point)));
  const lives = ({ signalCode }: ChildProcess): boolean => signalCode === null;
  // Whoever takes a trip, or is told to start one; so there are more until each has died of one.
  for (let n = 0; dying.some(lives);) {
    expect(n).toBeLessThan(1_000);
    for (const child of [survivor, ...dying]) {
      if (!lives(child)) continue;
      child.send({ go: { tripId: String(n), refuse: n % 2 === 1 } }, () => undefined);
      n += 1;
      const answered = new AbortController();
      const { signal } = answered;
      await Promise.race([once(child, 'message', { signal }), once(child, 'exit', { signal })]);
      answered.abort();
    }
  }
  const open = sql`select count(*)::int as open from plimsoll.saga where state not in ('done', 'compensated')`;
  await expect.poll(() => database.one(open), { timeout: 30_000 }).toEqual({ open: 0 });
  expect(await database.query(sql`select * from plimsoll.task`)).toEqual([]);

  const trips = await database.query<{ id: string; state: string; names: string; n: number }>(sql`
    select trip as id, state, string_agg(taken.name, ' ' order by taken.name) as names, sum(n)::int as n
    from plimsoll.saga s join travel.taken on s.id = 'travel.trip/' || trip group by trip, state`);
  for (const { id, state, names, n } of trips) {
    const refused = Number(id) % 2 === 1;
    expect({ state, names, n }).toEqual(
      refused
        ? { state: 'compensated', names: 'flight hotel', n: 0 }
        : { state: 'done', names: 'car flight hotel', n: 3 },
    );
  }
  const { sagas } = await database.one<{ sagas: number }>(
    sql`select count(*)::int as sagas from plimsoll.saga`,
  );
  expect(trips).toHaveLength(sagas);
  const exited = once(survivor, 'exit');
  survivor.send({ stop: true });
  await exited;
});
