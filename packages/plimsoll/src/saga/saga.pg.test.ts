import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { claimDue } from '../durable/claim.ts';
import type { ClaimedTask } from '../durable/task.ts';
import { jobMigrations } from '../durable/migrations.ts';
import { background, sagas as sagaChannel } from '../kernel/channels.ts';
import { insertEvents } from '../outbox/events.ts';
import { outboxMigrations } from '../outbox/migrations.ts';
import { moveCommitted } from '../outbox/relay.ts';
import { approveSaga, cancelSaga, compensateSaga, rejectSaga, resumeSaga, retrySaga } from './decisions.ts';
import { begin, driveSagas, effectTable, forgetAll, type Drive, type Flaky } from '../../test/saga/drive.ts';
import { program, world } from '../../test/saga/program.ts';
import { sagaMigrations } from './migrations.ts';
import { countSagas, forgetSagas, listSagas, showSaga } from './read.ts';
import { saga, type AnySaga, type Run } from './saga.ts';
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
beforeEach(async () => {
  await forgetAll(database);
});

const by = { who: 'ada', why: 'the bank called' };
const anyInput = z.object({});
const step = (run: Run<'world'>, name: string, refuse = false): ReturnType<typeof act> =>
  act(run, name, refuse);
const act = (run: Run<'world'>, name: string, refuse: boolean) =>
  run.step(name, world.act, { name, refuse }, { compensate: () => [world.undo, { name }], maxAttempts: 3 });

/** One saga `world.trip`, whose code may be exchanged as by a deployment. */
function trip(body: (run: Run<'world'>) => Promise<unknown>, version = 1): AnySaga<'world'> {
  return saga({ version, input: anyInput, uses: [world] }, body);
}

interface Running extends Drive {
  readonly id: string;
  /** Turns until nothing is due. */
  readonly rest: () => Promise<void>;
  readonly state: () => Promise<string>;
}

async function run(
  code: AnySaga,
  flaky?: (key: string) => Flaky,
  id = '1',
  started = true,
): Promise<Running> {
  const drive = driveSagas({
    database,
    sagas: new Map([
      ['world.trip', { module: 'world', saga: code }],
      ['world.program', { module: 'world', saga: program }],
    ]),
    ...(flaky === undefined ? {} : { flaky }),
  });
  const whole = started ? await begin(database, 'world.trip', code, {}, id) : `world.trip/${id}`;
  return {
    ...drive,
    id: whole,
    async rest() {
      for (let turn = 0; await drive.turn(); turn += 1) if (turn === 200) throw new Error('no rest');
    },
    state: async () => (await showSaga(database, whole)).state,
  };
}

/** The same saga in another process, with other code. */
const deployed = (code: AnySaga, flaky?: (key: string) => Flaky): Promise<Running> =>
  run(code, flaky, '1', false);

const effects = async (): Promise<string[]> =>
  (await database.query<{ what: string; name: string }>(sql`select what, name from effect order by id`)).map(
    ({ what, name }) => `${what === 'world.undo' ? '-' : '+'}${name}`,
  );
const happen = async (key: string): Promise<void> => {
  await database.execute(
    insertEvents([
      { type: 'world.happened', version: 1, key, correlationId: 'c', caller: {}, payload: { key } },
    ]),
  );
  await moveCommitted(database, 100);
  await follow(database, 100);
};
const historyOf = async (id: string): Promise<string[]> =>
  (await showSaga(database, id)).history.map(({ kind, name, operation, place }) =>
    [kind, place, name ?? operation].filter((part) => part !== '' && part !== null).join(' '),
  );

test('what was done before a refusal is undone, newest first, and the history says so', async () => {
  const { id, rest } = await run(
    trip(async (run) => {
      await step(run, 'flight');
      await step(run, 'hotel');
      const car = await step(run, 'car', true);
      if (!car.ok) throw run.fail('NoCar', car.data);
    }),
  );
  await rest();
  expect(await showSaga(database, id)).toMatchObject({
    state: 'compensated',
    error: { error: 'NoCar', data: { name: 'car' } },
    at: [],
    nextAt: null,
  });
  expect(await effects()).toEqual(['+flight', '+hotel', '-hotel', '-flight']);
  expect(await historyOf(id)).toEqual([
    'began 1 flight',
    'done 1',
    'began 2 hotel',
    'done 2',
    'began 3 car',
    'done 3',
    'failed NoCar',
    'undone 2 world.undo',
    'undone 1 world.undo',
  ]);
});

test('an id that is started twice is one saga; a result is kept', async () => {
  const code = trip(async (run) => (await step(run, 'flight')).ok);
  const { id, rest, calls } = await run(code);
  await begin(database, 'world.trip', code, {}, '1');
  await rest();
  expect(await showSaga(database, id)).toMatchObject({ state: 'done', result: true });
  expect([...calls.values()]).toEqual([1]);
  expect(await database.query(sql`select * from plimsoll.task`)).toEqual([]);
});

describe('a step that throws', () => {
  const twice: Flaky = { lost: 1, unanswered: 1 };

  test('is called again with the same key, until it is answered', async () => {
    const { id, rest, calls, state } = await run(
      trip((run) => step(run, 'flight')),
      () => twice,
    );
    await rest();
    expect(await state()).toBe('done');
    expect([...calls]).toEqual([[`saga:${id}/1:flight`, 3]]);
    expect(await effects()).toEqual(['+flight']);
    expect(await historyOf(id)).toEqual(['began 1 flight', 'threw 1', 'threw 1', 'done 1']);
  });

  test('is stuck in the end, aloud, and goes on when somebody says so', async () => {
    const told: unknown[] = [];
    const states: string[] = [];
    const unsubscribe = [
      background.subscribe((message) => told.push(message)),
      sagaChannel.subscribe(({ state }) => states.push(state)),
    ];
    const { id, rest, state } = await run(
      trip(async (run) => {
        await step(run, 'flight');
        await step(run, 'hotel');
      }),
      (key) => ({ lost: key.includes('hotel') ? 4 : 0, unanswered: 0 }),
    );
    await rest();
    expect(await state()).toBe('stuck');
    expect(told).toMatchObject([{ what: `saga ${id} is stuck`, error: { code: 'PL_SAGA_STUCK' } }]);
    expect(await countSagas(database)).toEqual({ running: 0, waiting: 0, compensating: 0, stuck: 1 });
    expect(await listSagas(database, { state: 'stuck' })).toMatchObject([
      { id, at: ['step hotel'], trouble: { message: expect.stringContaining('failed 3 times') } },
    ]);
    await retrySaga(database, id, by);
    await rest();
    for (const stop of unsubscribe) stop();
    expect(await state()).toBe('done');
    expect(states).toEqual(['stuck', 'done']);
    expect((await showSaga(database, id)).history).toContainEqual(
      expect.objectContaining({ kind: 'asked', operation: 'retry', ...by }),
    );
  });

  test('may be done by hand, with what came of it', async () => {
    const { id, rest, state } = await run(
      trip(async (run) => {
        const flight = await step(run, 'flight');
        if (flight.ok) return flight.value.name;
        throw run.fail('NoFlight');
      }),
      () => ({ lost: 1_000, unanswered: 0 }),
    );
    await rest();
    expect(await state()).toBe('stuck');
    await expect(resumeSaga(database, id, { ...by, step: 'hotel' })).rejects.toMatchObject({
      code: 'PL_SAGA_STATE',
      message: expect.stringContaining('there are: flight (place 1)'),
    });
    await resumeSaga(database, id, { ...by, step: 'flight', result: { name: 'by hand' } });
    await rest();
    expect(await showSaga(database, id)).toMatchObject({ state: 'done', result: 'by hand' });
  });

  test('leaves an outcome that is not known: undoing the saga settles it first', async () => {
    const { id, rest, state } = await run(
      trip(async (run) => {
        await step(run, 'flight');
        await step(run, 'hotel');
      }),
      // It has its effect, and three times no answer.
      (key) => ({ lost: 0, unanswered: key.endsWith(':hotel') ? 3 : 0 }),
    );
    await rest();
    expect(await state()).toBe('stuck');
    await compensateSaga(database, id, by);
    await rest();
    expect(await state()).toBe('compensated');
    expect(await effects()).toEqual(['+flight', '+hotel', '-hotel', '-flight']);
  });

  test('may be taken not to have happened, by somebody who knows', async () => {
    const { id, rest, state } = await run(
      trip(async (run) => {
        await step(run, 'flight');
        await step(run, 'hotel');
      }),
      (key) => ({ lost: key.endsWith(':hotel') ? 1_000 : 0, unanswered: 0 }),
    );
    await rest();
    await compensateSaga(database, id, { ...by, assumeUndone: true });
    await rest();
    expect(await state()).toBe('compensated');
    expect(await effects()).toEqual(['+flight', '-flight']);
  });
});

describe('a compensation that fails', () => {
  const failing = trip(async (run) => {
    await step(run, 'flight');
    await step(run, 'hotel');
    throw run.fail('Enough');
  });

  test('is called until it goes well', async () => {
    const { rest, state } = await run(failing, (key) => ({
      lost: key.endsWith('/undo') ? 3 : 0,
      unanswered: 1,
    }));
    await rest();
    expect(await state()).toBe('compensated');
    expect(await effects()).toEqual(['+flight', '+hotel', '-hotel', '-flight']);
  });

  test('is stuck in the end; goes on by retry, or when it was done by hand', async () => {
    const { id, rest, state } = await run(failing, (key) => ({
      lost: key.endsWith('/undo') ? (key.includes('hotel') ? 21 : 1_000) : 0,
      unanswered: 0,
    }));
    await rest();
    expect(await showSaga(database, id)).toMatchObject({ state: 'stuck', undoing: true });
    await retrySaga(database, id, by);
    await rest();
    expect(await state()).toBe('stuck');
    expect(await effects()).toEqual(['+flight', '+hotel', '-hotel']);
    await resumeSaga(database, id, { ...by, step: 'flight' });
    await rest();
    expect(await state()).toBe('compensated');
  });
});

describe('waiting for an event', () => {
  const hearing = trip(async (run) => {
    const first = await run.waitFor('first', world.happened, { key: 'k' });
    const second = await run.waitFor('second', world.happened, { key: 'k' });
    return [first.key, second.key];
  });

  test('sees the one that comes, holds no task, and takes each event once', async () => {
    const { id, rest, state } = await run(hearing);
    await rest();
    expect(await listSagas(database)).toMatchObject([
      { state: 'waiting', at: ['event first'], nextAt: null },
    ]);
    await happen('other');
    await rest();
    expect(await state()).toBe('waiting');
    await happen('k');
    await rest();
    expect(await listSagas(database)).toMatchObject([{ at: ['event second'] }]);
    await happen('k');
    await rest();
    expect(await showSaga(database, id)).toMatchObject({ state: 'done', result: ['k', 'k'] });
  });

  test('sees those that came before, but none from before the saga', async () => {
    await happen('k');
    const { rest, state } = await run(hearing);
    await happen('k');
    await rest();
    expect(await listSagas(database)).toMatchObject([{ at: ['event second'] }]);
    await happen('k');
    await rest();
    expect(await state()).toBe('done');
  });

  test('gives the first one, also when a later one is met before the log was asked', async () => {
    const { id, rest, turn } = await run(hearing);
    await happen('k');
    // The wait is committed, and its worker dies before it asks the log.
    await turn({ at: 2, when: 'after' });
    expect(await database.query(sql`select place from plimsoll.saga_wait`)).toEqual([{ place: '1' }]);
    await happen('k');
    await rest();
    expect(await showSaga(database, id)).toMatchObject({ state: 'done', result: ['k', 'k'] });
  });

  test('that comes to nothing in time gives undefined, and a late event changes nothing', async () => {
    const { id, rest } = await run(
      trip(
        async (run) => (await run.waitFor('late', world.happened, { key: 'k', timeoutMs: 1 })) ?? 'nothing',
      ),
    );
    await rest();
    await happen('k');
    await rest();
    expect(await showSaga(database, id)).toMatchObject({ state: 'done', result: 'nothing' });
    expect(await database.query(sql`select * from plimsoll.saga_wait`)).toEqual([]);
  });
});

test('an approval waits for who decides, and why', async () => {
  const asking = trip(async (run) => {
    const big = await run.approval('big');
    if (big.decision !== 'approved') throw run.fail('Rejected', big);
    return big;
  });
  const yes = await run(asking, undefined, 'yes');
  const no = await run(asking, undefined, 'no');
  await expect(approveSaga(database, yes.id, by)).rejects.toMatchObject({ code: 'PL_SAGA_STATE' });
  await yes.rest();
  await approveSaga(database, yes.id, by);
  await rejectSaga(database, no.id, { ...by, approval: 'big' });
  await expect(rejectSaga(database, no.id, by)).rejects.toMatchObject({ code: 'PL_SAGA_STATE' });
  await yes.rest();
  expect(await showSaga(database, yes.id)).toMatchObject({
    state: 'done',
    result: { decision: 'approved', ...by },
  });
  expect(await showSaga(database, no.id)).toMatchObject({
    state: 'compensated',
    error: { error: 'Rejected', data: { decision: 'rejected', ...by } },
  });
  const late = await run(
    trip((run) => run.approval('soon', { timeoutMs: 1 })),
    undefined,
    'late',
  );
  await late.rest();
  expect(await showSaga(database, late.id)).toMatchObject({ result: { decision: 'timedOut' } });
  await expect(approveSaga(database, yes.id, { who: ' ', why: '' })).rejects.toMatchObject({
    code: 'PL_CONFIG',
    data: { problems: [{ path: 'who' }, { path: 'why' }] },
  });
  await expect(approveSaga(database, 'world.trip/none', by)).rejects.toMatchObject({
    code: 'PL_SAGA_UNKNOWN',
  });
});

test('a cancelled saga begins nothing more and undoes what it did; one that has ended cannot be', async () => {
  const { id, rest, state } = await run(
    trip(async (run) => {
      await step(run, 'flight');
      await run.sleep('night', 86_400_000);
      await step(run, 'hotel');
    }),
  );
  await rest();
  expect(await state()).toBe('waiting');
  await cancelSaga(database, id, by);
  await rest();
  expect(await showSaga(database, id)).toMatchObject({
    state: 'compensated',
    error: { error: 'Cancelled', data: by },
  });
  expect(await effects()).toEqual(['+flight', '-flight']);
  await expect(cancelSaga(database, id, by)).rejects.toMatchObject({ code: 'PL_SAGA_STATE' });
  await expect(retrySaga(database, id, by)).rejects.toMatchObject({ code: 'PL_SAGA_STATE' });
});

test('cancelled after its worker died in a step: the step is settled, and undone', async () => {
  const { id, rest, state, turn } = await run(
    trip(async (run) => {
      await step(run, 'flight');
      await step(run, 'hotel');
    }),
  );
  // Taken, begun, called; its outcome is never written.
  await turn({ at: 3, when: 'before' });
  expect(await effects()).toEqual(['+flight']);
  await cancelSaga(database, id, by);
  await rest();
  expect(await state()).toBe('compensated');
  expect(await effects()).toEqual(['+flight', '-flight']);
});

test('a saga that is done can still be undone, its children too', async () => {
  const { id, rest, state } = await run(
    trip(async (run) => {
      await step(run, 'flight');
      await run.child('tour', program, { ops: [{ op: 'step', name: 'museum', refuse: false }] });
    }),
  );
  await rest();
  expect(await state()).toBe('done');
  await compensateSaga(database, id, by);
  await rest();
  expect(await state()).toBe('compensated');
  expect(await effects()).toEqual(['+flight', '+museum', '-museum', '-flight']);
});

test('when one branch fails, what the others have under way is settled and undone; they begin nothing more', async () => {
  const { rest, state } = await run(
    trip(async (run) => {
      await run.all({
        slow: async (run) => {
          await step(run, 'slow');
          await step(run, 'never');
        },
        failing: async (run) => {
          if (!(await step(run, 'failing', true)).ok) throw run.fail('Failing');
        },
        asleep: (run) => run.sleep('night', 86_400_000),
      });
    }),
    // Its effect is there after the second call, and answered after the third.
    (key) => (key.endsWith(':slow') ? { lost: 1, unanswered: 1 } : { lost: 0, unanswered: 0 }),
  );
  await rest();
  expect(await state()).toBe('compensated');
  expect(await effects()).toEqual(['+slow', '-slow']);
});

describe('changed code', () => {
  const before = trip(async (run) => {
    await step(run, 'flight');
    await run.approval('go');
    await step(run, 'hotel');
  });

  test.each([
    ['asks for something else', async (run: Run<'world'>) => void (await step(run, 'train'))],
    ['asks for less', async () => undefined],
    [
      'asks for more before it',
      async (run: Run<'world'>) => {
        await run.all({ one: (inner) => step(inner, 'ferry') });
        await step(run, 'flight');
      },
    ],
  ])('that %s stops the saga before it does anything', async (_how, body) => {
    const { id, rest } = await run(before);
    await rest();
    const after = await deployed(trip(body));
    await approveSaga(database, id, by);
    await after.rest();
    expect(await showSaga(database, id)).toMatchObject({
      state: 'stuck',
      trouble: {
        code: 'PL_SAGA_DIVERGED',
        message: expect.stringContaining('saga world.trip/1 (version 1): at place 1'),
      },
    });
    expect(await effects()).toEqual(['+flight']);
    // The old code is back.
    const again = await deployed(before);
    await resumeSaga(database, id, by);
    await again.rest();
    expect(await again.state()).toBe('done');
  });

  test('of a new version: what is under way stays with its own, and waits for a worker that has it', async () => {
    const { id, rest } = await run(before);
    await rest();
    await approveSaga(database, id, by);
    const newer = trip((run) => step(run, 'train'), 2);
    const alone = await deployed(newer);
    await alone.rest();
    expect(await alone.state()).toBe('running');
    const both = await deployed(
      saga({ version: 2, input: anyInput, uses: [world], previous: [before] }, (run) => step(run, 'train')),
    );
    await both.rest();
    expect(await both.state()).toBe('done');
    expect(await effects()).toEqual(['+flight', '+hotel']);
  });

  test('of a version that nobody has can still be undone', async () => {
    const { id, rest } = await run(before);
    await rest();
    const alone = await deployed(trip(async () => undefined, 2));
    await compensateSaga(database, id, by);
    await alone.rest();
    expect(await alone.state()).toBe('compensated');
    expect(await effects()).toEqual(['+flight', '-flight']);
  });

  test('that throws by itself is a bug: the saga is stuck, and nothing is undone for it', async () => {
    const { id, rest, state } = await run(
      trip(async (run) => {
        await step(run, 'flight');
        throw new TypeError('a bug');
      }),
    );
    await rest();
    expect(await showSaga(database, id)).toMatchObject({ state: 'stuck', trouble: { message: 'a bug' } });
    const mended = await deployed(trip((run) => step(run, 'flight')));
    await resumeSaga(database, id, by);
    await mended.rest();
    expect(await state()).toBe('done');
    expect(await effects()).toEqual(['+flight']);
  });
});

test('code that awaits something that is not a step is stuck, and holds no worker for ever', async () => {
  const endless = trip(async (run) => {
    await step(run, 'flight');
    await new Promise(() => undefined);
  });
  const { id } = await run(endless);
  const drive = driveSagas({
    database,
    sagas: new Map([['world.trip', { module: 'world', saga: endless }]]),
    stallMs: 20,
  });
  while (await drive.turn());
  expect(await showSaga(database, id)).toMatchObject({
    state: 'stuck',
    trouble: { message: expect.stringContaining('awaited something that is not a step for 20 ms') },
  });
  // Once it is repaired, it goes on with what is recorded.
  const repaired = await deployed(trip((run) => step(run, 'flight')));
  await resumeSaga(database, id, by);
  await repaired.rest();
  expect(await repaired.state()).toBe('done');
});

test('a child that its module does not list is a bug', async () => {
  const stranger = trip(async () => undefined);
  const { id, rest } = await run(trip((run) => run.child('stranger', stranger as never, {} as never)));
  await rest();
  expect(await showSaga(database, id)).toMatchObject({
    state: 'stuck',
    trouble: { code: 'PL_UNKNOWN_OPERATION', message: expect.stringContaining('does not list') },
  });
});

test('values are the same in each turn', async () => {
  const seen: unknown[] = [];
  const { rest } = await run(
    trip(async (run) => {
      const values = [run.now(), run.random()];
      await run.sleep('a moment', 1);
      seen.push(values);
      await run.sleep('another', 1);
    }),
  );
  await rest();
  expect(seen.length).toBeGreaterThan(1);
  expect(new Set(seen.map((one) => JSON.stringify(one))).size).toBe(1);
});

/** A worker that is held in its first call, after the effect. */
function held(code: AnySaga): { readonly drive: Drive; readonly release: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const drive = driveSagas({
    database: {
      ...database,
      async execute(statement) {
        const done = await database.execute(statement);
        if (statement.compile().text.includes('insert into effect')) await promise;
        return done;
      },
    } as Database,
    sagas: new Map([['world.trip', { module: 'world', saga: code }]]),
  });
  return { drive, release: resolve };
}

const flightAndHotel = trip(async (run) => {
  await step(run, 'flight');
  await step(run, 'hotel');
});

test('a worker that was taken for dead writes nothing any more', async () => {
  const late = await run(flightAndHotel);
  const { drive, release } = held(flightAndHotel);
  const turn = drive.turn();
  await expect.poll(effects).toEqual(['+flight']);
  await database.execute(sql`update plimsoll.task set state = 'ready', worker = null`);
  await late.rest();
  expect(await late.state()).toBe('done');
  const told = await historyOf(late.id);
  release();
  await expect(turn).rejects.toMatchObject({ code: 'PL_TASK_LOST' });
  expect(await historyOf(late.id)).toEqual(told);
  expect(await effects()).toEqual(['+flight', '+hotel']);
});

describe('a step that is recorded with its effect', () => {
  const recorded = (): Flaky => ({ lost: 0, unanswered: 0, recorded: true });
  const once = ['began 1 flight', 'done 1', 'began 2 hotel', 'done 2'];

  test('costs one commit; only what it begins with costs another one', async () => {
    const code = trip(async (run) => {
      for (const name of ['flight', 'hotel', 'car']) await step(run, name);
    });
    const { id, rest, sent } = await run(code, recorded);
    await rest();
    expect(await showSaga(database, id)).toMatchObject({ state: 'done', at: [] });
    // A look at it, the first beginning, and each step with what comes after it: the end too.
    expect(sent()).toBe(2 + 3);
  });

  test('of a worker that was taken for dead is rolled back, and done by the other one', async () => {
    const late = await run(flightAndHotel, recorded);
    const [reached, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const drive = driveSagas({
      database,
      flaky: recorded,
      sagas: new Map([['world.trip', { module: 'world', saga: flightAndHotel }]]),
      async meanwhile() {
        reached.resolve();
        await go.promise;
      },
    });
    const turn = drive.turn();
    await reached.promise;
    await database.execute(sql`update plimsoll.task set state = 'ready', worker = null`);
    // It waits for the row of the first one, which is not committed.
    const resting = late.rest();
    const taken = sql`select rev from plimsoll.saga`;
    await expect.poll(() => database.one(taken)).toEqual({ rev: 2 });
    go.resolve();
    await expect(turn).rejects.toMatchObject({ code: 'PL_TASK_LOST' });
    await resting;
    expect(await late.state()).toBe('done');
    expect(await effects()).toEqual(['+flight', '+hotel']);
    expect(await historyOf(late.id)).toEqual(once);
  });

  test('that is cancelled meanwhile is called again, and undone', async () => {
    const { id, rest, state } = await run(flightAndHotel, recorded);
    const drive = driveSagas({
      database,
      flaky: recorded,
      sagas: new Map([['world.trip', { module: 'world', saga: flightAndHotel }]]),
      async meanwhile(key) {
        if (key.endsWith(':flight')) await cancelSaga(database, id, by).catch(() => undefined);
      },
    });
    await drive.turn();
    await rest();
    expect(await state()).toBe('compensated');
    expect(await effects()).toEqual(['+flight', '-flight']);
    expect(await historyOf(id)).not.toContain('began 2 hotel');
  });

  test('whose COMMIT fails is tried again; what the code went on with was never called', async () => {
    await database.execute(sql`create sequence commits`);
    await database.execute(sql`
      create function refuse_first() returns trigger language plpgsql as
      $$ begin if nextval('commits') = 1 then raise 'not now'; end if; return null; end $$`);
    await database.execute(sql`
      create constraint trigger refuse after insert on effect deferrable initially deferred
      for each row execute function refuse_first()`);
    try {
      const { id, rest, calls } = await run(flightAndHotel, recorded);
      await rest();
      expect(await effects()).toEqual(['+flight', '+hotel']);
      expect(await historyOf(id)).toEqual(['began 1 flight', 'threw 1', 'done 1', 'began 2 hotel', 'done 2']);
      expect([...calls.values()]).toEqual([2, 1]);
    } finally {
      await database.execute(sql`drop trigger refuse on effect`);
    }
  });

  test('whose answer is lost is not called again', async () => {
    const told: string[] = [];
    const stop = sagaChannel.subscribe(({ state }) => told.push(state));
    const { id, rest, calls } = await run(flightAndHotel, () => ({ lost: 0, unanswered: 9, recorded: true }));
    await rest();
    stop();
    expect(told).toEqual(['done']);
    expect(await historyOf(id)).toEqual(once);
    expect([...calls.values()]).toEqual([1, 1]);
  });

  test('has no effect when what undoes it cannot be told', async () => {
    const { id, rest } = await run(
      trip((run) =>
        run.step(
          'flight',
          world.act,
          { name: 'flight', refuse: false },
          {
            compensate() {
              throw new TypeError('a bug');
            },
          },
        ),
      ),
      recorded,
    );
    await rest();
    expect(await showSaga(database, id)).toMatchObject({ state: 'stuck', trouble: { message: 'a bug' } });
    expect(await effects()).toEqual([]);
  });
});

test('what the code does with a result does not change what is recorded', async () => {
  const code = trip(async (run) => {
    const flight = await step(run, 'flight');
    if (!flight.ok) return undefined;
    (flight.value as { name: string }).name += '!';
    await run.sleep('a moment', 1);
    return flight.value.name;
  });
  for (const recorded of [false, true]) {
    const { id, rest } = await run(code, () => ({ lost: 0, unanswered: 0, recorded }), String(recorded));
    await rest();
    expect(await showSaga(database, id)).toMatchObject({ state: 'done', result: 'flight!' });
  }
});

test('cancelled while a step is called: that one is awaited and undone, and the next never begins', async () => {
  const { id, rest, state } = await run(flightAndHotel);
  const { drive, release } = held(flightAndHotel);
  const turn = drive.turn();
  await expect.poll(effects).toEqual(['+flight']);
  await cancelSaga(database, id, by);
  release();
  await turn;
  await rest();
  expect(await state()).toBe('compensated');
  expect(await effects()).toEqual(['+flight', '-flight']);
  expect(await historyOf(id)).not.toContain('began 2 hotel');
});

test('a process that dies with each try is noticed: the saga is stuck, and not tried for ever', async () => {
  const { id, rest, state } = await run(trip((run) => step(run, 'flight')));
  await database.execute(sql`update plimsoll.task set attempt = max_attempts - 1`);
  await rest();
  expect(await state()).toBe('stuck');
  await retrySaga(database, id, by);
  await rest();
  expect(await state()).toBe('done');
});

test('sagas that have ended are forgotten when they are old, a child not before its parent', async () => {
  const { id, rest } = await run(trip((run) => run.child('tour', program, { ops: [] })));
  await rest();
  expect(await forgetSagas(database, 60_000)).toBe(0);
  await database.execute(
    sql`update plimsoll.saga set updated_at = now() - interval '1 hour' where parent is not null`,
  );
  expect(await forgetSagas(database, 60_000)).toBe(0);
  await database.execute(sql`update plimsoll.saga set updated_at = now() - interval '1 hour'`);
  expect(await forgetSagas(database, 60_000)).toBe(1);
  expect(await forgetSagas(database, 60_000)).toBe(1);
  await expect(showSaga(database, id)).rejects.toMatchObject({ code: 'PL_SAGA_UNKNOWN' });
  expect(await database.query(sql`select * from plimsoll.saga_step`)).toEqual([]);
});

test('a task that is claimed for a saga of another turn does nothing', async () => {
  const { id, rest, state } = await run(trip((run) => run.approval('go')));
  const [stale] = await database.query<ClaimedTask>(claimDue(99, ['world.trip@1'], 1));
  expect(stale).toBeDefined();
  await database.execute(sql`update plimsoll.task set state = 'ready', worker = null`);
  await rest();
  await approveSaga(database, id, by);
  await rest();
  expect(await state()).toBe('done');
});
