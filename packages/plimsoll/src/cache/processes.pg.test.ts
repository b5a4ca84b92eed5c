import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
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
async function start(): Promise<{ ask(what: string): Promise<string>; child: ChildProcess }> {
  const child = fork(new URL('./fixtures/cache-process.ts', import.meta.url), [server.url], {
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
