import fc from 'fast-check';
import { sql, type Result } from 'plimsoll';
import { untilIdle } from 'plimsoll/testing';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { inventory } from '../modules/inventory/contract.ts';
import { startShop, type RunningShop } from './running-shop.ts';

let shop: RunningShop;
// Each basket is an order of its own.
let lastOrder = 0;

beforeAll(async () => {
  shop = await startShop(inject('cluster'));
});
afterAll(() => shop[Symbol.asyncDispose]());

type Lines = readonly { readonly sku: string; readonly quantity: number }[];

const skus = ['A', 'B', 'C', 'D', 'E', 'F'];
const reorderQuantity = 1_000;

async function stockWith(available: number, reorderPoint: number): Promise<void> {
  await shop.app.database.transaction(async (tx) => {
    await tx.execute(sql`truncate inventory.stock, inventory.reservations, inventory.reservation_lines`);
    await tx.execute(sql`
      insert into inventory.stock (sku, available, reorder_point, reorder_quantity)
      select sku, ${available}, ${reorderPoint}, ${reorderQuantity} from unnest(${skus}::text[]) sku`);
  });
}

async function levels(): Promise<Record<string, number>> {
  const rows = await shop.app.database.query<{ sku: string; available: number }>(
    sql`select sku, available from inventory.stock order by sku`,
  );
  return Object.fromEntries(rows.map(({ sku, available }) => [sku, available]));
}

const reserve = (orderId: number, lines: Lines): Promise<Result<typeof inventory.reserve>> =>
  shop.app.call(inventory.reserve, { orderId, lines: [...lines] });
const quantityOf = (lines: Lines, sku: string): number =>
  lines.reduce((sum, line) => sum + (line.sku === sku ? line.quantity : 0), 0);
const lineOf = fc.record({ sku: fc.constantFrom(...skus), quantity: fc.integer({ min: 1, max: 9 }) });
const basket = fc.array(lineOf, { minLength: 1, maxLength: 12 });

test('fifty overlapping baskets at once, in any order of lines, never oversell and never deadlock', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(basket, { minLength: 50, maxLength: 50 }), async (baskets) => {
      // About a third of what they want together; what is sold out to the last piece is reordered meanwhile.
      await stockWith(101, 1);
      const answers = await Promise.all(
        baskets.map(async (lines) => ({ lines, answer: await reserve((lastOrder += 1), lines) })),
      );
      await untilIdle(shop.app);
      const sold = answers.filter(({ answer }) => answer.ok).flatMap(({ lines }) => lines);
      for (const [sku, available] of Object.entries(await levels())) {
        expect(available).toBeGreaterThanOrEqual(0);
        const delivered = available + quantityOf(sold, sku) - 101;
        expect([0, reorderQuantity]).toContain(delivered);
      }
    }),
    { numRuns: 15 },
  );
});

test('asked for one order by many at once it reserves once, and all get the same answer', async () => {
  await stockWith(100, 1);
  const orderId = (lastOrder += 1);
  const lines = [
    { sku: 'B', quantity: 2 },
    { sku: 'A', quantity: 3 },
    { sku: 'B', quantity: 4 },
  ];
  const answers = await Promise.all(Array.from({ length: 10 }, () => reserve(orderId, lines)));
  expect(answers.map(({ ok }) => ok)).toEqual(Array.from({ length: 10 }, () => true));
  expect(await levels()).toMatchObject({ A: 97, B: 94, C: 100 });
});

test('all or nothing: what is missing is named, and nothing is taken', async () => {
  await stockWith(10, 1);
  const lines = [
    { sku: 'A', quantity: 1 },
    { sku: 'B', quantity: 6 },
    { sku: 'B', quantity: 5 },
    { sku: 'NOTHING', quantity: 1 },
  ];
  expect(await reserve((lastOrder += 1), lines)).toEqual({
    ok: false,
    error: 'OutOfStock',
    data: { missing: ['B', 'NOTHING'] },
  });
  expect(await levels()).toMatchObject({ A: 10, B: 10 });
});

test('what falls under its reorder point is reordered, once per fall', async () => {
  await stockWith(20, 10);
  await reserve((lastOrder += 1), [{ sku: 'A', quantity: 10 }]);
  await untilIdle(shop.app);
  expect(await levels()).toMatchObject({ A: 10 });
  await Promise.all([1, 2, 3].map(() => reserve((lastOrder += 1), [{ sku: 'A', quantity: 1 }])));
  await untilIdle(shop.app);
  expect(await levels()).toMatchObject({ A: 7 + reorderQuantity, B: 20 });
});

test('any sequence of reserving and releasing leaves what a plain model says', async () => {
  const step = fc.record({ order: fc.integer({ min: 1, max: 6 }), lines: fc.option(basket) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      await stockWith(40, 1);
      const first = lastOrder;
      lastOrder += 6;
      const model = new Map(skus.map((sku) => [sku, 40]));
      const held = new Map<number, Lines>();
      const released = new Set<number>();
      const move = (lines: Lines, sign: 1 | -1): void => {
        for (const { sku, quantity } of lines) model.set(sku, model.get(sku)! + sign * quantity);
      };
      for (const { order, lines } of steps) {
        if (lines === null) {
          await shop.app.call(inventory.release, { orderId: first + order });
          if (held.has(order) && !released.has(order)) {
            released.add(order);
            move(held.get(order)!, 1);
          }
          continue;
        }
        const { ok } = await reserve(first + order, lines);
        const fits = skus.every((sku) => quantityOf(lines, sku) <= model.get(sku)!);
        expect(ok).toBe(held.has(order) || fits);
        if (!held.has(order) && fits) {
          held.set(order, lines);
          move(lines, -1);
        }
        // Sold out to the last piece: the delivery comes before the next step.
        await untilIdle(shop.app);
        for (const [sku, available] of model) if (available === 0) model.set(sku, reorderQuantity);
      }
      expect(await levels()).toEqual(Object.fromEntries(model));
    }),
    { numRuns: 30 },
  );
});
