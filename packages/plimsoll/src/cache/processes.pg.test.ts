import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { cacheMigrations } from './migrations.ts';

let server: TestDatabase;
let database: Database;
const running: ChildProcess[] = [];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, [cacheMigrations]);
  await database.execute(sql`create table product (id int primary key, name text not null)`);
  await database.execute(sql`insert into product values (1, 'v0')`);
});
afterAll(async () => {
  for (const child of running) child.kill('SIGKILL');
  await database.close();
  await server.drop();
});

/** A process of its own, with a cache, a bus and a relay. */
async function start(outside?: string): Promise<{ ask(what: string): Promise<string>; child: ChildProcess }> {
  const given = outside === undefined ? [server.url] : [server.url, outside];
  const child = fork(new URL('./fixtures/cache-process.ts', import.meta.url), given, {
    execArgv: ['--conditions=plimsoll:source'],
  });
  running.push(child);
  await once(child, 'message');
  let asked = 0;
  return {
    child,
    async ask(what) {
      asked += 1;
      const number = asked;
      const { promise, resolve } = Promise.withResolvers<string>();
      const listen = (answer: unknown): void => {
        const { of, value } = answer as { of: number; value: string };
        if (of !== number) return;
        child.off('message', listen);
        resolve(value);
      };
      child.on('message', listen);
      child.send({ number, what });
      return promise;
    },
  };
}

test('processes of their own: they hear of each other, and one that is killed after its commit is spoken for', async () => {
  const [one, other] = await Promise.all([start(), start()]);
  expect(await Promise.all([one.ask('get'), other.ask('get')])).toEqual(['v0', 'v0']);
  for (let n = 1; n <= 5; n += 1) {
    expect(await one.ask(`rename v${n}`)).toBe('done');
    // Its own writes it reads at once, the other one soon.
    expect(await one.ask('get')).toBe(`v${n}`);
    await expect.poll(() => other.ask('get'), { timeout: 10_000 }).toBe(`v${n}`);
  }
  // Commits, and is killed before it has told anybody.
  void one.ask('commit-only last');
  await expect
    .poll(async () => (await database.one<{ name: string }>(sql`select name from product`)).name, {
      timeout: 10_000,
    })
    .toBe('last');
  one.child.kill('SIGKILL');
  await expect.poll(() => other.ask('get'), { timeout: 10_000 }).toBe('last');
  await expect
    .poll(async () => (await database.query(sql`select from plimsoll.invalidation`)).length, {
      timeout: 10_000,
    })
    .toBe(0);
  other.child.send({ number: 0, what: 'stop' });
  await once(other.child, 'exit');
});

test('a cache outside is purged of what was committed, whenever the processes are killed', async () => {
  const purged: string[] = [];
  let isSilent = false;
  let silent = 0;
  const cache = createServer((request, response) => {
    if (isSilent) {
      silent += 1;
      return;
    }
    purged.push(String(request.headers['surrogate-key']));
    response.end();
  });
  await new Promise<void>((resolve) => void cache.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(cache.address() as AddressInfo).port}`;
  const nameIs = async (name: string): Promise<void> =>
    await expect
      .poll(() => database.query(sql`select from product where name = ${name}`), { timeout: 10_000 })
      .toHaveLength(1);
  const rowsAreGone = async (): Promise<void> =>
    await expect
      .poll(
        () => database.query(sql`select from plimsoll.invalidation union all select from plimsoll.purge`),
        { timeout: 20_000 },
      )
      .toHaveLength(0);
  try {
    // Killed between its commit and everything else: nobody is left.
    const writer = await start(url);
    void writer.ask('commit-only first');
    await nameIs('first');
    writer.child.kill('SIGKILL');
    await once(writer.child, 'exit');

    // The next one is killed while it purges: the cache has heard of it, or has not.
    isSilent = true;
    const purging = await start(url);
    await expect.poll(() => silent, { timeout: 20_000 }).toBeGreaterThan(0);
    expect(purged).toEqual([]);
    purging.child.kill('SIGKILL');
    await once(purging.child, 'exit');

    isSilent = false;
    const last = await start(url);
    await rowsAreGone();
    expect([...new Set(purged)]).toEqual(['product:1']);
    last.child.send({ number: 0, what: 'stop' });
    await once(last.child, 'exit');
  } finally {
    cache.closeAllConnections();
    cache.close();
  }
});
