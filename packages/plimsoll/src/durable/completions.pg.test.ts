import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { createCompletions } from './completions.ts';
import { releaseHeld } from './settle.ts';
import type { ClaimedTask } from './task.ts';

let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
});
afterAll(async () => {
  await database?.close();
  await server?.drop();
});

interface Fence {
  readonly worker: number;
  readonly attempt: number;
}
const claim: fc.Arbitrary<Fence> = fc.record({
  worker: fc.integer({ min: 1, max: 3 }),
  attempt: fc.integer({ min: 1, max: 3 }),
});
/** What a worker believes to have, and how it is; null when it was given back. */
const tasks = fc.array(fc.record({ believed: claim, is: fc.option(claim) }), { maxLength: 30, size: 'max' });

/** Runs with rows that are as the tasks say; returns, by task, what a worker believes and whether it is so. */
async function write(
  all: readonly { readonly believed: Fence; readonly is: Fence | null }[],
): Promise<readonly { readonly task: ClaimedTask; readonly ours: boolean }[]> {
  await database.execute(sql`truncate plimsoll.task`);
  const written: { readonly task: ClaimedTask; readonly ours: boolean }[] = [];
  for (const { believed, is } of all) {
    const id = randomUUID();
    await database.execute(sql`
      insert into plimsoll.task (id, kind, name, max_attempts, payload, correlation_id, state, worker, attempt)
      values (${id}, 'job', 'work', 3, '{}', 'c', ${is === null ? 'ready' : 'running'}, ${is?.worker ?? null},
        ${is?.attempt ?? believed.attempt})`);
    const ours = is !== null && is.worker === believed.worker && is.attempt === believed.attempt;
    written.push({ task: { id, name: 'work', ...believed } as ClaimedTask, ours });
  }
  return written;
}

test('of many that end at once those are gone that are still ours, and each learns which it was', async () => {
  const complete = createCompletions(database);
  await fc.assert(
    fc.asyncProperty(tasks, async (all) => {
      const written = await write(all);
      expect(await Promise.all(written.map(({ task }) => complete(task)))).toEqual(
        written.map(({ ours }) => ours),
      );
      const left = await database.query<{ id: string }>(sql`select id from plimsoll.task order by seq`);
      expect(left.map(({ id }) => id)).toEqual(
        written.filter(({ ours }) => !ours).map(({ task }) => task.id),
      );
    }),
    { numRuns: 40 },
  );
});

test('of many that are given back those are ready that are still ours, with one attempt less', async () => {
  await fc.assert(
    fc.asyncProperty(
      tasks.filter((all) => all.length > 0),
      async (all) => {
        const written = await write(all);
        await database.execute(releaseHeld(written.map(({ task }) => task)));
        const rows = await database.query<{ state: string; attempt: number }>(
          sql`select state, attempt from plimsoll.task order by seq`,
        );
        for (const [index, { task, ours }] of written.entries()) {
          const was = all[index]?.is;
          expect(rows[index]).toEqual(
            ours || was === null
              ? { state: 'ready', attempt: task.attempt - (ours ? 1 : 0) }
              : { state: 'running', attempt: was?.attempt },
          );
        }
      },
    ),
    { numRuns: 40 },
  );
});
