import { hash } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { jobMigrations } from '../durable/migrations.ts';
import { insertEvents } from '../outbox/events.ts';
import { outboxMigrations } from '../outbox/migrations.ts';
import { moveCommitted } from '../outbox/relay.ts';
import { approveSaga, cancelSaga } from './decisions.ts';
import { driveSagas, effectTable, forgetAll, type Flaky } from '../../test/saga/drive.ts';
import type { Death } from '../../test/saga/mortal.ts';
import { stepsOf, waitsOf, type Op } from '../../test/saga/program.ts';
import { sagaMigrations } from './migrations.ts';
import { listSagas, showSaga } from './read.ts';
import { follow } from './wait-events.ts';

let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, [jobMigrations, outboxMigrations, sagaMigrations]);
  await database.execute(effectTable);
  await database.execute(sql`insert into plimsoll.log_reader (name, position) values ('plimsoll.saga', 0)`);
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

/** Programs whose steps have names of their own, by where they are. */
const programs: fc.Arbitrary<readonly Op[]> = fc
  .letrec<{ ops: Shape[]; op: Shape }>((tie) => ({
    op: fc.oneof(
      { maxDepth: 2, depthSize: 'small' },
      { weight: 6, arbitrary: fc.record({ op: fc.constant('step' as const), refuse: oneIn(9) }) },
      { weight: 1, arbitrary: fc.constant({ op: 'sleep' as const }) },
      { weight: 1, arbitrary: fc.constant({ op: 'wait' as const }) },
      { weight: 1, arbitrary: fc.constant({ op: 'approval' as const }) },
      { weight: 1, arbitrary: fc.constant({ op: 'value' as const }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant('child' as const), ops: tie('ops') }) },
      {
        weight: 2,
        arbitrary: fc.record({
          op: fc.constant('all' as const),
          branches: fc.array(tie('ops'), { minLength: 1, maxLength: 3 }),
        }),
      },
    ) as fc.Arbitrary<Shape>,
    ops: fc.array(tie('op'), { minLength: 1, maxLength: 4 }),
  }))
  .ops.map((shapes) => named(shapes, ''));

type Shape =
  | { readonly op: 'step'; readonly refuse: boolean }
  | { readonly op: 'sleep' | 'wait' | 'approval' | 'value' }
  | { readonly op: 'child'; readonly ops: readonly Shape[] }
  | { readonly op: 'all'; readonly branches: readonly (readonly Shape[])[] };

function oneIn(n: number): fc.Arbitrary<boolean> {
  return fc.nat(n - 1).map((chosen) => chosen === 0);
}

function named(shapes: readonly Shape[], above: string): Op[] {
  return shapes.map((shape, index): Op => {
    const name = `${above}${index}`;
    switch (shape.op) {
      case 'step':
        return { op: 'step', name, refuse: shape.refuse };
      case 'sleep':
        return { op: 'sleep', ms: 1 };
      case 'wait':
        return { op: 'wait', key: name };
      case 'approval':
        return { op: 'approval', name };
      case 'value':
        return { op: 'value' };
      case 'child':
        return { op: 'child', ops: named(shape.ops, `${name}c`) };
      case 'all':
        return { op: 'all', branches: shape.branches.map((ops, branch) => named(ops, `${name}b${branch}_`)) };
    }
  });
}

const deaths: fc.Arbitrary<Death> = fc.record({
  at: fc.integer({ min: 1, max: 12 }),
  when: fc.constantFrom('before' as const, 'after' as const),
});

interface Scenario {
  readonly ops: readonly Op[];
  /** For each turn: where its worker dies, or that it lives. */
  readonly deaths: readonly (Death | undefined)[];
  readonly flaky: readonly Flaky[];
  /** Turns after which the next thing from outside happens; the rest happens when nothing goes on without it. */
  readonly outside: readonly boolean[];
  /** The turn after which it is cancelled, if that comes. */
  readonly cancelAfter: number | undefined;
}

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  ops: programs,
  deaths: fc.array(fc.option(deaths, { nil: undefined }), { maxLength: 10, size: 'max' }),
  flaky: fc.array(fc.record({ lost: fc.nat(2), unanswered: fc.nat(1), recorded: fc.boolean() }), {
    minLength: 1,
    maxLength: 8,
  }),
  outside: fc.array(fc.boolean(), { maxLength: 8 }),
  cancelAfter: fc.option(fc.nat(6), { nil: undefined, freq: 3 }),
});

async function publish(key: string): Promise<void> {
  await database.execute(
    insertEvents([
      { type: 'world.happened', version: 1, key, correlationId: 'c', caller: {}, payload: { key } },
    ]),
  );
  await moveCommitted(database, 100);
}

/** Says yes to whoever waits for it; false when nobody does yet. */
async function approve(name: string): Promise<boolean> {
  for (const { id, at } of await listSagas(database, { limit: 100 })) {
    if (!at.includes(`approval ${name}`)) continue;
    await approveSaga(database, id, { who: 'test', why: 'because', approval: name }).catch(
      (error: unknown) => {
        // It is said already, and not taken up yet.
        if (!String(error).includes('0 steps')) throw error;
      },
    );
    return true;
  }
  return false;
}

async function play(scenario: Scenario): Promise<string> {
  const { ops, flaky, cancelAfter } = scenario;
  await forgetAll(database);
  const drive = driveSagas({
    database,
    flaky: (key) => flaky[Number.parseInt(hash('sha256', key).slice(0, 6), 16) % flaky.length]!,
  });
  const id = await drive.start(ops);
  const events = waitsOf(ops).flatMap((wait) => (wait.op === 'wait' ? [wait.key] : []));
  const approvals = waitsOf(ops).flatMap((wait) => (wait.op === 'approval' ? [wait.name] : []));
  let idle = 0;
  for (let turn = 0; idle < 2; turn += 1) {
    if (turn > 2_000) throw new Error(`no end: ${JSON.stringify(await showSaga(database, id))}`);
    if (turn === cancelAfter)
      await cancelSaga(database, id, { who: 'test', why: 'enough' }).catch((error: unknown) => {
        if (!String(error).includes('does nothing')) throw error;
      });
    const went = await drive.turn(scenario.deaths[turn]);
    if (!went || scenario.outside[turn] === true) {
      const key = events.shift();
      if (key !== undefined) await publish(key);
      for (const name of approvals) await approve(name);
    }
    await follow(database, 100);
    idle = went || events.length > 0 ? 0 : idle + 1;
  }
  return id;
}

test(
  'whoever dies where: every effect is there once, or compensated once, the newest first',
  { timeout: 120_000 },
  async () => {
    const ends = { done: 0, compensated: 0 };
    await fc.assert(
      fc.asyncProperty(scenarios, async (scenario) => {
        const id = await play(scenario);
        const saga = await showSaga(database, id);
        const steps = stepsOf(scenario.ops);
        const refused = steps.some(({ refuse }) => refuse);
        // A cancel that came too late is none.
        if (scenario.cancelAfter === undefined || saga.ending === null)
          expect(saga.state).toBe(refused ? 'compensated' : 'done');
        else expect(saga.state).toBe('compensated');
        if (saga.state === 'done' || saga.state === 'compensated') ends[saga.state] += 1;

        const effects = await database.query<{ what: string; name: string }>(
          sql`select what, name from effect order by id`,
        );
        const acts = effects.filter(({ what }) => what === 'world.act').map(({ name }) => name);
        const undos = effects.filter(({ what }) => what === 'world.undo').map(({ name }) => name);
        expect(new Set(acts).size).toBe(acts.length);
        if (saga.state === 'done') {
          expect(acts.toSorted()).toEqual(steps.map(({ name }) => name).toSorted());
          expect(undos).toEqual([]);
        } else {
          expect(undos.toSorted()).toEqual(acts.toSorted());
        }
        // In the order in which its own steps were recorded, backwards.
        const own = saga.history.filter(({ op }) => op === 'step');
        const placesOf = (kind: string): string[] =>
          own
            .filter((row) => row.kind === kind && (kind !== 'done' || row.compensation !== null))
            .map(({ place }) => place);
        if (saga.state === 'compensated') expect(placesOf('undone')).toEqual(placesOf('done').toReversed());
        expect(
          await database.one(sql`
          select (select count(*) from plimsoll.task)::int as tasks, (select count(*) from plimsoll.saga_wait)::int as waits,
            (select count(*) from plimsoll.saga where state not in ('done', 'compensated'))::int as live`),
        ).toEqual({ tasks: 0, waits: 0, live: 0 });
      }),
      { numRuns: 30, endOnFailure: true },
    );
    // Or it would prove little.
    expect(ends.done).toBeGreaterThan(0);
    expect(ends.compensated).toBeGreaterThan(0);
  },
);

const trip: readonly Op[] = [
  { op: 'step', name: 'a', refuse: false },
  {
    op: 'all',
    branches: [
      [
        { op: 'step', name: 'b', refuse: false },
        { op: 'sleep', ms: 1 },
      ],
      [{ op: 'wait', key: 'k' }],
    ],
  },
  { op: 'child', ops: [{ op: 'step', name: 'c', refuse: false }] },
  { op: 'step', name: 'd', refuse: true },
];

test.each([
  ['before', false],
  ['after', false],
  ['before', true],
  ['after', true],
] as const)(
  'a worker that dies %s each statement in turn leaves nothing out and does nothing twice; steps record themselves: %s',
  async (when, recorded) => {
    const still: Flaky = { lost: 0, unanswered: 0, recorded };
    for (let at = 1; at <= 9; at += 1) {
      const deaths = Array.from({ length: 8 }, () => ({ at, when }));
      const id = await play({ ops: trip, deaths, flaky: [still], outside: [true], cancelAfter: undefined });
      expect((await showSaga(database, id)).state).toBe('compensated');
      const effects = await database.query<{ name: string; n: number }>(
        sql`select name, count(*)::int as n from effect group by name order by name`,
      );
      expect(effects).toEqual(['a', 'b', 'c'].map((name) => ({ name, n: 2 })));
    }
  },
);
