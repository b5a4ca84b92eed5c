import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
import { trace } from '../outbox/trace.ts';
import { sagaFacts } from './trace-facts.ts';
// #region usage
import { command, contract, createApp, event, module, plan, saga, sql } from 'plimsoll';
import { approveSaga, listSagas, showSaga } from 'plimsoll/saga';
import { z } from 'zod';

const seat = z.object({ tripId: z.string(), seat: z.string() });
const airline = contract('airline', {
  book: command({ input: seat, output: seat, errors: { Taken: z.object({}) } }),
  cancel: command({ input: seat }),
});
const card = contract('card', {
  charge: command({ input: z.object({ tripId: z.string(), pence: z.int() }) }),
  refund: command({ input: z.object({ tripId: z.string() }) }),
  cleared: event({ payload: z.object({ tripId: z.string() }), key: ({ tripId }) => tripId }),
});
const trips = contract('trips', {
  book: command({ input: z.object({ tripId: z.string(), seat: z.string(), pence: z.int() }) }),
});

const booking = saga(
  { version: 1, input: trips.book.input, uses: [airline, card] },
  async (run, { tripId, seat, pence }) => {
    const booked = await run.step(
      'book',
      airline.book,
      { tripId, seat },
      {
        compensate: (value) => [airline.cancel, value], // recorded with the result
      },
    );
    if (!booked.ok) throw run.fail('SeatTaken', { seat });
    if (pence > 100_000) {
      const { decision } = await run.approval('expensive', { timeoutMs: 86_400_000 });
      if (decision !== 'approved') throw run.fail('NotApproved');
    }
    await run.step('charge', card.charge, { tripId, pence }, { compensate: () => [card.refund, { tripId }] });
    // Seen too when it was published before this line.
    const cleared = await run.waitFor('cleared', card.cleared, { key: tripId, timeoutMs: 3_600_000 });
    if (cleared === undefined) throw run.fail('NotCleared');
    return { seat: booked.value.seat };
  },
);

const tripsModule = module(trips, {
  owns: { schema: 'trips' },
  uses: [airline, card],
  commands: {
    async book(input, { start }) {
      start(booking, input, { id: input.tripId }); // in this transaction; an id given twice is one saga
    },
  },
  sagas: { booking },
});
// #endregion

const seats = new Set<string>();
const airlineModule = module(airline, {
  owns: { schema: 'airline' },
  commands: {
    book: async (input, { fail }) =>
      seats.has(input.seat) ? fail('Taken', {}) : (seats.add(input.seat), input),
    cancel: async (input) => void seats.delete(input.seat),
  },
});
const charged = new Map<string, number>();
const cardModule = module(card, {
  owns: { schema: 'card' },
  commands: {
    async charge({ tripId, pence }, { emit }) {
      charged.set(tripId, pence);
      emit(card.cleared, { tripId });
    },
    refund: async ({ tripId }) => void charged.delete(tripId),
  },
});

test('a saga in an app: started by a command, approved by hand, waits for an event, ends', async () => {
  const server = await createTestDatabase(inject('cluster'));
  try {
    await using app = createApp(
      plan({
        name: 'trips',
        modules: [tripsModule, airlineModule, cardModule],
        expectedPeak: { requestsPerSecond: 1 },
        objectives: { default: { p95Ms: 1_000, errorRate: 0.01 } },
      }),
      { databaseUrl: server.url, listen: false },
    );
    await app.start();
    await app.call(trips.book, { tripId: 't1', seat: '7A', pence: 150_000 });
    const waiting = async (): Promise<readonly unknown[]> =>
      (await listSagas(app.database)).map(({ at }) => at);
    await expect.poll(waiting, { timeout: 10_000 }).toEqual([['approval expensive']]);
    expect(charged.size).toBe(0);
    // #region approve
    const who = { who: 'ada@example.org', why: 'the customer is known' };
    await approveSaga(app.database, 'trips.booking/t1', who);
    // #endregion
    const saga = (): ReturnType<typeof showSaga> => showSaga(app.database, 'trips.booking/t1');
    await expect.poll(saga, { timeout: 10_000 }).toMatchObject({ state: 'done', result: { seat: '7A' } });
    expect(charged.get('t1')).toBe(150_000);

    await app.call(trips.book, { tripId: 't2', seat: '7A', pence: 10 });
    await expect
      .poll(() => showSaga(app.database, 'trips.booking/t2'), { timeout: 10_000 })
      .toMatchObject({ state: 'compensated', error: { error: 'SeatTaken', data: { seat: '7A' } } });
    expect((await app.telemetry()).sagas).toEqual({ running: 0, waiting: 0, compensating: 0, stuck: 0 });
    expect(await app.metrics()).toContain('plimsoll_sagas{state="stuck"} 0');
    expect(await app.metrics()).toMatch(
      /plimsoll_saga_transitions_total\{saga="trips\.booking",state="compensated"\} 1/,
    );
    // The event that woke it left nothing behind.
    expect(await app.database.query(sql`select * from plimsoll.saga_wait`)).toEqual([]);
    // The steps ran in the context of the request that booked.
    const correlations = await app.database.query(sql`
      select distinct e.correlation_id = s.correlation_id as same from plimsoll.event e, plimsoll.saga s
      where s.id = 'trips.booking/t1'`);
    expect(correlations).toEqual([{ same: true }]);
    // What the trace of the request shows of it, events of its steps included.
    const [request] = await trace(app.database, { key: 't1' }, [sagaFacts]);
    const [traced] = request!.effects;
    expect(traced).toMatchObject({ kind: 'saga', name: 'trips.booking', state: 'done' });
    const what = traced!.effects.map(({ name, state, effects }) => [
      name,
      state,
      ...effects.map((effect) => `${effect.kind} ${effect.name}`),
    ]);
    expect(what).toEqual([
      ['step book', 'done'],
      ['approval expensive', 'done'],
      ['saga', 'asked'],
      ['step charge', 'done', 'event card.cleared'],
      ['event cleared', 'done'],
    ]);
    expect(traced!.effects).toContainEqual(
      expect.objectContaining({ data: expect.objectContaining({ by: who.who, why: who.why }) as object }),
    );
  } finally {
    await server.drop();
  }
});
