import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import {
  expectedLevels,
  happening,
  levels,
  storedLevels,
  type Happening,
  type Level,
} from '../../test/views/stock.ts';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { systemClock } from '../kernel/clock.ts';
import { moveCommitted } from '../outbox/relay.ts';
import { advance } from './advance.ts';
import { Build } from './build.ts';
import { createViewBuilder } from './builder.ts';
import { Filler } from './filler.ts';
import { isFolding, type FoldingView } from './fold.ts';
import type { PlacedView } from './place.ts';
import { prepareViews } from './prepare.ts';
import { listViews, type ViewStatus } from './status.ts';
import type { Databases } from './tables.ts';

let server: TestDatabase;
let database: Database;
let both: Databases;
let schemas = 0;
const statementTimeoutMs = 10_000;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  both = { database, log: database };
  await migrate(database, migrationsOf({ modules: [] }));
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

const write = async (list: readonly Happening[]): Promise<void> => {
  if (list.length > 0) await database.execute(happening(list));
  while ((await moveCommitted(database, 1_000)) > 0);
};
async function prepared(): Promise<{ readonly place: PlacedView; readonly table: string }> {
  const place = { schema: `build_${(schemas += 1)}`, view: levels('levels') };
  await prepareViews(both, [place]);
  return { place, table: 'levels_v1' };
}
const statusOf = async (schema: string): Promise<ViewStatus> =>
  (await listViews(both)).find((each) => each.schema === schema) as ViewStatus;
const positionOf = async (schema: string): Promise<number> =>
  (
    await database.one<{ position: number }>(
      sql`select position from plimsoll.view_table where schema_name = ${schema}`,
    )
  ).position;
const rowsOf = (schema: string): Promise<Level[]> => storedLevels(database, schema, 'levels');

const sku = fc.constantFrom('a', 'b', 'c', 'd', 'e');
const happenings: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({ type: fc.constant('received'), sku, count: fc.nat(9), place: fc.constantFrom('x', 'y') }),
  fc.record({
    type: fc.constant('shipped'),
    lines: fc.array(fc.record({ sku, count: fc.nat(9) }), { maxLength: 3 }),
  }),
  fc.record({ type: fc.constant('gone'), sku }),
  fc.record({ type: fc.constant('looked') }),
) as fc.Arbitrary<Happening>;

type Act =
  | { readonly do: 'write'; readonly list: readonly Happening[] }
  /** `builder` 0 or 1 goes on with what it has folded; or it dies, and another takes its place. */
  | { readonly do: 'step' | 'die'; readonly builder: number }
  /** As a builder that is near the head does. */
  | { readonly do: 'advance'; readonly batch: number };

const acts: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('write' as const), list: fc.array(happenings, { maxLength: 9 }) }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('step' as const), builder: fc.nat(1) }) },
  fc.record({ do: fc.constant('die' as const), builder: fc.nat(1) }),
  fc.record({ do: fc.constant('advance' as const), batch: fc.integer({ min: 1, max: 9 }) }),
);

test(
  'what is folded ahead is written as if event after event had been, whoever else fills the table and whoever dies',
  { timeout: 120_000 },
  async () => {
    // What the runs came to: a property that never writes, or never meets another, says nothing.
    const outcomes = { unwritten: 0, written: 0, elsewhere: 0 };
    await fc.assert(
      fc.asyncProperty(
        fc.array(acts, { minLength: 20, maxLength: 50, size: 'max' }),
        fc.record({
          batch: fc.integer({ min: 1, max: 7 }),
          rows: fc.integer({ min: 1, max: 5 }),
          knownRows: fc.nat(5),
          ahead: fc.integer({ min: 1, max: 30 }),
        }),
        async (list, limits) => {
          const filling = await prepared();
          const { schema } = filling.place;
          const builds: (Build | undefined)[] = [];
          const step = async (builder: number): Promise<void> => {
            const build = (builds[builder] ??= new Build(
              both,
              filling,
              filling.place.view as FoldingView,
              await positionOf(schema),
              systemClock,
            ));
            const { outcome } = await build.step({ ...limits, statementTimeoutMs });
            outcomes[outcome] += 1;
            if (outcome === 'elsewhere') builds[builder] = undefined;
          };
          for (const act of list) {
            if (act.do === 'write') await write(act.list);
            if (act.do === 'step') await step(act.builder);
            if (act.do === 'die') builds[act.builder] = undefined;
            if (act.do === 'advance') await advance(both, filling, { batch: act.batch, statementTimeoutMs });
          }
          const { head } = await statusOf(schema);
          while ((await positionOf(schema)) < head) await step(0);
          expect(await rowsOf(schema)).toEqual(await expectedLevels(database));
        },
      ),
      { numRuns: 10 },
    );
    expect(Math.min(...Object.values(outcomes))).toBeGreaterThan(5);
  },
);

test('many events of few rows are written in few transactions, each of them short', async () => {
  const filling = await prepared();
  await write(
    Array.from(
      { length: 3_000 },
      (_, n) => ({ type: 'received', sku: `s${n % 7}`, count: 1, place: 'x' }) as const,
    ),
  );
  const { schema, view } = filling.place;
  if (!isFolding(view)) throw new Error('levels folds');
  const { head } = await statusOf(schema);
  const build = new Build(both, filling, view, 0, systemClock);
  const limits = { batch: 100, rows: 1_000, ahead: 1_000, statementTimeoutMs };
  const reached: number[] = [];
  for (let position = 0; position < head;) {
    const built = await build.step(limits);
    if (built.outcome !== 'written') continue;
    ({ position } = built.advanced);
    reached.push(position);
  }
  expect(reached).toEqual([
    ...Array.from({ length: Math.ceil(head / 1_000) - 1 }, (_, n) => (n + 1) * 1_000),
    head,
  ]);
  expect(await rowsOf(schema)).toEqual(await expectedLevels(database));
});

test('an event far behind that cannot be applied stops the table in front of it, with what was before it applied', async () => {
  const filling = await prepared();
  const { schema } = filling.place;
  const start = (await statusOf(schema)).head;
  const received = (n: number): Happening => ({ type: 'received', sku: `s${n % 7}`, count: 1, place: 'x' });
  await write(Array.from({ length: 100 }, (_, n) => received(n)));
  const bad = start + 64;
  const { payload } = await database.one<{ payload: object }>(
    sql`update plimsoll.event set payload = '{}' where position = ${bad} returning old.payload as payload`,
  );
  const filler = new Filler(both, filling, await statusOf(schema), {
    batch: 16,
    targetMs: 200,
    statementTimeoutMs,
    clock: systemClock,
  });
  let failure: unknown;
  while (failure === undefined) await filler.next().catch((error: unknown) => (failure = error));
  expect(failure).toMatchObject({ code: 'PL_PAYLOAD_INVALID' });
  expect(await statusOf(schema)).toMatchObject({ position: bad - 1, failure: { position: bad - 1 } });
  await database.execute(
    sql`update plimsoll.event set payload = ${sql.json(payload)} where position = ${bad}`,
  );
  const builder = createViewBuilder({ database, views: [filling.place], batch: 16, pollMs: 10 });
  await builder.start();
  try {
    await expect.poll(async () => (await statusOf(schema)).behind, { timeout: 20_000 }).toBe(0);
  } finally {
    await builder.stop();
  }
  expect(await rowsOf(schema)).toEqual(await expectedLevels(database));
  expect((await statusOf(schema)).failure).toBeNull();
});
