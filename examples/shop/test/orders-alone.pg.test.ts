import { createTestDatabase } from '@plimsoll/embedded';
import { route, sql, type Module } from 'plimsoll';
import { fake, placements, scenario, testModule, underFaults } from 'plimsoll/testing';
import { expect, inject, test } from 'vitest';
import { catalog } from '../modules/catalog/contract.ts';
import { inventory } from '../modules/inventory/contract.ts';
import { orders } from '../modules/orders/contract.ts';
import { ordersModule } from '../modules/orders/module.ts';
import { payments } from '../modules/payments/contract.ts';
import { shipping } from '../modules/shipping/contract.ts';
import { routes } from '../routes.ts';

/** What the modules around it have done, each once per order however often it is asked. */
interface Around {
  readonly reserved: Map<number, number>;
  readonly charged: Map<number, number>;
  readonly refunded: Map<string, number>;
}

function fakes({ reserved, charged, refunded }: Around): Record<string, Module> {
  return {
    catalog: fake(catalog, {
      many: async ({ skus }) => skus.map((sku) => ({ sku, description: sku, pence: 250 })),
    }),
    inventory: fake(inventory, {
      reserve: async ({ orderId, lines }) => void reserved.set(orderId, lines.length),
      release: async ({ orderId }) => void reserved.delete(orderId),
    }),
    payments: fake(payments, {
      charge: async ({ orderId, pence }, { fail }) => {
        if (pence > 100_000) return fail('Declined', { reason: 'too much' });
        charged.set(orderId, pence);
        return { bankId: `bank-${orderId}` };
      },
      refund: async ({ refundId, pence }) => {
        refunded.set(refundId, pence);
        return { bankId: `bank-${refundId}` };
      },
    }),
    shipping: fake(shipping, { ship: async ({ orderId }) => ({ tracking: `T${orderId}` }) }),
  };
}

const lines = [{ sku: 'lantern', quantity: 6 }];
const guest = { customerId: null, country: 'France' };

test.each(placements)(
  'orders alone, %s: whatever fails on the way, each order goes its way once',
  async (placement) => {
    await underFaults({ runs: 3 }, async (faults) => {
      const database = await createTestDatabase(inject('cluster'));
      const around: Around = { reserved: new Map(), charged: new Map(), refunded: new Map() };
      try {
        await using tested = await testModule(ordersModule, {
          uses: fakes(around),
          database,
          placement,
          routes: routes.map(({ path, operation, ...options }) => route(path, operation, options)),
          faults,
        });
        const back = { returnId: 'return-1', customerId: null, lines };
        const { results, events } = await scenario(tested)
          .call(orders.place, { ...guest, lines })
          .call(orders.place, { ...guest, lines: [{ sku: 'chandelier', quantity: 1_000 }] })
          .call(orders.returnItems, back)
          .call(orders.returnItems, back)
          .untilIdle();
        const [shipped, declined] = results.map((result) =>
          result.ok && 'orderId' in result.value ? result.value.orderId : 0,
        );
        expect(results.slice(2)).toEqual(
          [1, 2].map(() => ({ ok: true, value: { returnId: 'return-1', pence: 1_500 } })),
        );
        expect(
          await tested.database.query(sql`select id, status, tracking from orders.orders order by id`),
        ).toEqual([
          { id: shipped, status: 'shipped', tracking: `T${shipped}` },
          { id: declined, status: 'declined', tracking: null },
        ]);
        expect(around).toEqual({
          reserved: new Map([[shipped, 1]]),
          charged: new Map([[shipped, 1_500]]),
          refunded: new Map([['return-1', 1_500]]),
        });
        expect(events.map(({ key, type }) => `${key} ${type}`).toSorted()).toEqual(
          [
            ...['placed', 'reserved', 'paid', 'shipped'].map((one) => `${shipped} orders.${one}`),
            ...['placed', 'reserved', 'declined'].map((one) => `${declined} orders.${one}`),
          ].toSorted(),
        );
      } finally {
        await database.drop();
      }
    });
  },
);
