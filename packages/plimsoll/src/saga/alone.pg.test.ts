import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
// #region alone
import { command, contract, createContext, currentContext, saga } from 'plimsoll';
import { createDatabase, migrate, sql } from 'plimsoll/database';
import { createWorker, insertTasks, jobMigrations } from 'plimsoll/jobs';
import { outboxMigrations } from 'plimsoll/outbox';
import { insertSagas, newSaga, sagaMigrations, sagaTaskHandlers, showSaga } from 'plimsoll/saga';
import { z } from 'zod';

const rooms = contract('rooms', {
  hold: command({ input: z.object({ room: z.string() }), output: z.object({ hold: z.string() }) }),
  release: command({ input: z.object({ hold: z.string() }) }),
  pay: command({ input: z.object({ room: z.string() }), errors: { Refused: z.object({}) } }),
});
const stay = saga(
  { version: 1, input: z.object({ room: z.string() }), uses: [rooms] },
  async (run, { room }) => {
    await run.step(
      'hold',
      rooms.hold,
      { room },
      {
        compensate: ({ hold }) => [rooms.release, { hold }],
      },
    );
    const paid = await run.step('pay', rooms.pay, { room });
    if (!paid.ok) throw run.fail('Refused');
  },
);

type Commands = Readonly<Record<string, (input: never, key: string) => Promise<unknown>>>;

async function stays(url: string, commands: Commands): Promise<AsyncDisposable> {
  const database = createDatabase({ url });
  await migrate(database, [jobMigrations, outboxMigrations, sagaMigrations]);
  const handlers = sagaTaskHandlers({
    database,
    sagas: new Map([['rooms.stay', { module: 'rooms', saga: stay }]]),
    // Your own calls. The key is the same however often the step is called: your effects have to take it.
    call: async (_module, { id }, input) => commands[id]?.(input as never, currentContext()?.key ?? ''),
    commandOf: (id) => [rooms.hold, rooms.release, rooms.pay].find((one) => one.id === id),
    payloadOf: (_event, arrived) => arrived.payload,
  });
  const worker = createWorker({ database, handlers });
  await worker.start();

  const { saga: started, task } = newSaga(createContext(), {
    name: 'rooms.stay',
    module: 'rooms',
    saga: stay,
    input: { room: '7' },
    id: 'booking-1',
  });
  await database.transaction(async (tx) => {
    await tx.execute(insertSagas([started])); // with whatever else your transaction writes
    await tx.execute(insertTasks([task]));
  });
  worker.wake();
  // #endregion
  return {
    async [Symbol.asyncDispose]() {
      await worker.stop();
      await database.close();
    },
  };
}

test('sagas work without modules and without an app', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const called: string[] = [];
  const note =
    (what: string, result?: unknown) =>
    async (_input: never, key: string): Promise<unknown> => {
      called.push(`${what} ${key}`);
      return result;
    };
  try {
    await using running = await stays(server.url, {
      'rooms.hold': note('hold', { hold: 'h1' }),
      'rooms.release': note('release'),
      'rooms.pay': note('pay', { ok: false, error: 'Refused', data: {} }),
    });
    expect(running).toBeDefined();
    await using database = createDatabase({ url: server.url, pool: { max: 1 } });
    await expect
      .poll(() => showSaga(database, 'rooms.stay/booking-1'), { timeout: 10_000 })
      .toMatchObject({ state: 'compensated', error: { error: 'Refused' } });
    expect(called).toEqual([
      'hold saga:rooms.stay/booking-1/1:hold',
      'pay saga:rooms.stay/booking-1/2:pay',
      'release saga:rooms.stay/booking-1/1:hold/undo',
    ]);
    expect(await database.query(sql`select * from plimsoll.task`)).toEqual([]);
  } finally {
    await server.drop();
  }
});
