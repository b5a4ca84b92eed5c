import { createTestDatabase } from '@plimsoll/embedded';
import { beforeEach, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { command, contract, event, module, query, route, sql, type Caller } from '../index.ts';
import { httpRequests, type HttpRequestMessage } from '../kernel/channels.ts';
import { fake } from './fake.ts';
import { underFaults } from './faults.ts';
import { placements, type Placement } from './placements.ts';
import { scenario } from './scenario.ts';
import { testModule, type TestedModule } from './test-module.ts';
import { untilIdle } from './until-idle.ts';

const inventory = contract('inventory', {
  reserve: command({
    // The schema leaves what is unknown as it is, so that one sees whether it is still the same object.
    input: z.object({ sku: z.string(), note: z.unknown() }),
    output: z.object({ reservation: z.string() }),
  }),
});
const orders = contract('orders', {
  place: command({
    input: z.object({ sku: z.string() }),
    output: z.object({ orderId: z.number() }),
    errors: { Unsold: z.object({ sku: z.string() }) },
  }),
  confirm: command({ input: z.object({ orderId: z.number() }) }),
  count: query({ input: z.object({ sku: z.string() }), output: z.number() }),
  placed: event({ payload: z.object({ orderId: z.number() }) }),
  confirmed: event({ payload: z.object({ orderId: z.number() }) }),
});

/** What handlers saw. */
let callers: Caller[];
let given: unknown[];
let received: unknown[];
beforeEach(() => {
  [callers, given, received] = [[], [], []];
});

const ordersModule = module(orders, {
  owns: { schema: 'orders', migrations: new URL('./fixtures/', import.meta.url) },
  uses: [inventory],
  commands: {
    async place({ sku }, { call, caller, emit, tx, fail }) {
      if (sku === 'unsold') return fail('Unsold', { sku });
      callers.push(caller);
      const note = { fragile: true };
      given.push(note);
      const { reservation } = await call(inventory.reserve, { sku, note });
      const { orderId } = await tx.one<{ orderId: number }>(
        sql`insert into orders.placed (sku, reservation) values (${sku}, ${reservation}) returning id as "orderId"`,
      );
      emit(orders.placed, { orderId });
      return { orderId };
    },
    confirm: async ({ orderId }, { emit }) => emit(orders.confirmed, { orderId }),
  },
  queries: {
    count: async ({ sku }, { db }) =>
      (await db.one<{ count: number }>(sql`select count(*)::int from orders.placed where sku = ${sku}`))
        .count,
  },
  on: (on) => [
    on(
      orders.placed,
      { name: 'confirm-placed' },
      async (placed, { enqueue }) => void enqueue(orders.confirm, placed),
    ),
  ],
});
const routes = [
  route('/orders', orders.place, { status: 201, errors: { Unsold: 409 } }),
  route('/orders/of/:sku', orders.count),
  route('/reservations', inventory.reserve),
];
const uses = {
  inventory: fake(inventory, {
    reserve: async ({ sku, note }) => {
      received.push(note);
      return { reservation: `r-${sku}` };
    },
  }),
};

/** Runs the body with the module in the placement, and says by which requests it was asked. */
async function placed(
  placement: Placement,
  body: (tested: TestedModule) => Promise<void>,
): Promise<readonly HttpRequestMessage[]> {
  const database = await createTestDatabase(inject('cluster'));
  const requests: HttpRequestMessage[] = [];
  const unsubscribe = httpRequests.subscribe((message) => requests.push(message));
  try {
    await using tested = await testModule(ordersModule, { uses, database, placement, routes });
    await body(tested);
    return requests;
  } finally {
    unsubscribe();
    await database.drop();
  }
}

// #region placements
test.each(placements)('an order is placed and confirmed: %s, under faults', async (placement) => {
  const database = await createTestDatabase(inject('cluster'));
  await underFaults({}, async (faults) => {
    await using tested = await testModule(ordersModule, { uses, database, placement, routes, faults });
    const { results, emitted } = await scenario(tested).call(orders.place, { sku: 'mug' }).untilIdle();
    expect(results).toEqual([{ ok: true, value: { orderId: expect.any(Number) as number } }]);
    expect(emitted(orders.confirmed)).toHaveLength(1);
    expect(await tested.call(orders.count, { sku: 'mug' })).toBe(1);
  });
  await database.drop();
});
// #endregion

test.each(placements)(
  'results, declared errors, thrown errors and callers are the same: %s',
  async (placement) => {
    await placed(placement, async (tested) => {
      const caller = { principal: 'ada', tenant: 'Zürich ☂' };
      const { results, events } = await scenario(tested, { caller })
        .call(orders.place, { sku: 'mug' })
        .call(orders.place, { sku: 'unsold' })
        .call(orders.count, { sku: 'mug' })
        .untilIdle();
      expect(results).toEqual([
        { ok: true, value: { orderId: 1 } },
        { ok: false, error: 'Unsold', data: { sku: 'unsold' } },
        1,
      ]);
      expect(callers).toEqual([caller]);
      expect(events.map((one) => [one.type, one.caller])).toEqual([
        ['orders.placed', caller],
        ['orders.confirmed', caller],
      ]);
      await expect(tested.call(orders.place, { sku: 7 } as never)).rejects.toMatchObject({
        code: 'PL_INPUT_INVALID',
      });
    });
  },
);

test('inline hands values over as they are, the others as they would arrive elsewhere', async () => {
  for (const placement of placements) {
    [given, received] = [[], []];
    await placed(placement, async (tested) => void (await tested.call(orders.place, { sku: 'mug' })));
    expect(received).toEqual(given);
    expect([placement, received[0] === given[0]]).toEqual([placement, placement === 'inline']);
  }
});

test('http is asked over HTTP where there is a route, and no other placement is', async () => {
  for (const placement of placements) {
    const requests = await placed(placement, async (tested) => {
      await tested.call(orders.place, { sku: 'mug' });
      await tested.call(orders.count, { sku: 'mug' });
      await tested.call(orders.confirm, { orderId: 1 });
      await untilIdle(tested);
    });
    expect([placement, ...requests.map(({ operation }) => operation)]).toEqual(
      placement === 'http' ? ['http', 'orders.place', 'orders.count'] : [placement],
    );
  }
});

test('two-instances are two workers, which both take calls; the others are one', async () => {
  for (const placement of placements) {
    await placed(placement, async (tested) => {
      const { workers } = await tested.database.one<{ workers: number }>(
        sql`select count(*)::int as workers from plimsoll.worker`,
      );
      expect([placement, workers]).toEqual([placement, placement === 'two-instances' ? 2 : 1]);
      await tested.call(orders.place, { sku: 'mug' });
      await tested.call(orders.place, { sku: 'mug' });
      await untilIdle(tested);
      const timed = (await tested.telemetry())['plimsoll.operation.duration'];
      expect([placement, timed.find(({ operation }) => operation === 'orders.place')?.count]).toEqual([
        placement,
        placement === 'two-instances' ? 1 : 2,
      ]);
    });
  }
});

test('http without a route to the module would test nothing, and is refused', async () => {
  const database = { url: 'postgres://nobody@127.0.0.1:1/none' };
  await expect(
    testModule(ordersModule, { uses, database, placement: 'http', routes: routes.slice(2) }),
  ).rejects.toMatchObject({ code: 'PL_CONFIG', data: { problems: [{ path: 'routes' }] } });
});

test('a stopped one is gone, in every placement, and can be started again', async () => {
  for (const placement of placements) {
    await placed(placement, async (tested) => {
      await tested.stop();
      await tested.stop();
      expect(tested.state).toBe('stopped');
      await expect(tested.call(orders.place, { sku: 'mug' })).rejects.toThrow();
      await tested.start();
      expect(await tested.call(orders.count, { sku: 'mug' })).toBe(0);
    });
  }
});
