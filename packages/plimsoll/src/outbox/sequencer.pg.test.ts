import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import type { Session } from '../database/session.ts';
import { sql } from '../database/sql.ts';
import { insertEvents } from './events.ts';
import { moveCommitted } from './relay.ts';

let server: TestDatabase;
let database: Database;
let sessions: readonly Session[];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
  sessions = await Promise.all([0, 1, 2, 3].map(() => database.session()));
});
afterAll(async () => {
  await Promise.all(sessions.map((session) => session.close()));
  await database.close();
  await server.drop();
});

/** One of four transactions at a time does something, or a relay of another process does. */
type Step =
  | { readonly do: 'emit'; readonly by: number; readonly count: number }
  | { readonly do: 'commit' | 'roll back'; readonly by: number }
  | { readonly do: 'move'; readonly batch: number };

/** What must be in the log: exactly the committed events, in the order of their ids as far as a move saw them. */
class Model {
  readonly log: number[] = [];
  #committed: number[] = [];
  readonly #open: number[][] = [[], [], [], []];

  emit(by: number, ids: readonly number[]): void {
    this.#open[by]!.push(...ids);
  }
  end(by: number, commits: boolean): void {
    const ids = this.#open[by]!.splice(0);
    if (commits) this.#committed.push(...ids);
  }
  move(batch: number): number {
    const sorted = this.#committed.toSorted((one, other) => one - other);
    const taken = sorted.slice(0, batch);
    this.#committed = sorted.slice(batch);
    this.log.push(...taken);
    return taken.length;
  }
}

test('the log is what the model says after every step: none skipped, none twice, dense', async () => {
  const by = fc.integer({ min: 0, max: 3 });
  const emitting = fc.record({ do: fc.constant('emit' as const), by, count: fc.integer({ min: 1, max: 3 }) });
  const ending = fc.record({ do: fc.constantFrom('commit' as const, 'roll back' as const), by });
  const moving = fc.record({ do: fc.constant('move' as const), batch: fc.integer({ min: 1, max: 6 }) });
  const step: fc.Arbitrary<Step> = fc.oneof(emitting, ending, moving);
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
      // Of few rows faster than to truncate, with so many indexes.
      await database.execute(sql`delete from plimsoll.event`);
      await database.execute(sql`delete from plimsoll.outbox`);
      await database.execute(sql`update plimsoll.sequencer set position = 0`);
      const model = new Model();
      const open = new Set<number>();
      const end = async (who: number, how: 'commit' | 'rollback'): Promise<void> => {
        if (open.delete(who)) await sessions[who]!.execute(how === 'commit' ? sql`commit` : sql`rollback`);
        model.end(who, how === 'commit');
      };
      for (const each of steps) {
        if (each.do === 'emit') {
          const session = sessions[each.by]!;
          if (!open.has(each.by)) await session.execute(sql`begin`);
          open.add(each.by);
          const events = Array.from({ length: each.count }, () => ({
            type: 'test.happened',
            version: 1,
            correlationId: 'c',
            caller: {},
            payload: {},
          }));
          const rows = await session.query<{ id: number }>(sql`${insertEvents(events)} returning id`);
          model.emit(
            each.by,
            rows.map(({ id }) => id),
          );
        }
        if (each.do === 'commit') await end(each.by, 'commit');
        if (each.do === 'roll back') await end(each.by, 'rollback');
        if (each.do === 'move')
          expect(await moveCommitted(database, each.batch)).toBe(model.move(each.batch));
      }
      for (const who of [0, 1, 2, 3]) await end(who, 'rollback');
      while ((await moveCommitted(database, 5)) > 0) model.move(5);
      const log = await database.query<{ position: number; id: number }>(
        sql`select position, id from plimsoll.event order by position`,
      );
      expect(log.map(({ id }) => id)).toEqual(model.log);
      expect(log.map(({ position }) => position)).toEqual(log.map((_event, index) => index + 1));
    }),
    { numRuns: 60 },
  );
});
