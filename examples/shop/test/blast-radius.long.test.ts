import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { orders } from '../modules/orders/contract.ts';
import { startFilledShop, type RunningShop } from './running-shop.ts';

let shop: RunningShop;
/** Placed by the test that runs. */
let placed: number[] = [];
/** Errors of each operation and subscription until then. */
let before: ReadonlyMap<string, number>;

beforeAll(async () => {
  shop = await startFilledShop(inject('cluster'));
});
afterAll(() => shop[Symbol.asyncDispose]());
beforeEach(async () => {
  placed = [];
  before = await failures();
});

const order = { customerId: 17850, country: 'United Kingdom', lines: [{ sku: '85123A', quantity: 1 }] };

const ask = (path: string, body?: object): Promise<Response> =>
  fetch(shop.app.url + path, {
    ...(body === undefined
      ? {}
      : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(8_000),
  });

/** Everything the shop offers, asked once; the statuses by operation. The order is a real one. */
async function askForEverything(): Promise<Readonly<Record<string, number>>> {
  const answer = await ask('/orders', order);
  const { orderId } = (await answer.json()) as { readonly orderId: number };
  placed.push(orderId);
  const asked: Readonly<Record<string, Promise<Response>>> = {
    'catalog.search': ask('/products?text=lantern'),
    'catalog.page': ask('/products/85123A'),
    'catalog.product': ask('/products/85123A/summary'),
    'inventory.stock': ask('/products/85123A/stock'),
    'reviews.rating': ask('/products/85123A/rating'),
    'reviews.write': ask('/products/85123A/reviews', { customerId: 17850, stars: 5, text: 'fine' }),
    'orders.byId': ask(`/orders/${orderId}`),
    'orders.returnItems': ask('/returns', {
      returnId: `return-${orderId}`,
      customerId: 17850,
      lines: [{ sku: '85123A', quantity: 1 }],
    }),
    'orders.byCustomer': ask('/customers/17850/orders'),
    'loyalty.standing': ask('/customers/17850/standing'),
    'payments.charge': ask('/payments', { orderId: 900_000_000 + orderId, pence: 100 }),
  };
  const statuses = await Promise.all(
    Object.entries(asked).map(
      async ([operation, answer]) =>
        [
          operation,
          await answer.then(
            ({ status }) => status,
            () => 0,
          ),
        ] as const,
    ),
  );
  return { 'orders.place': answer.status, ...Object.fromEntries(statuses) };
}

const degradedIn = (statuses: Readonly<Record<string, number>>): readonly string[] =>
  Object.keys(statuses).filter(
    (operation) => (statuses[operation] ?? 0) < 200 || (statuses[operation] ?? 0) >= 300,
  );

async function failures(): Promise<ReadonlyMap<string, number>> {
  const telemetry = await shop.app.telemetry();
  const failed = telemetry['plimsoll.operation.duration'].filter(({ outcome }) => outcome === 'error');
  return new Map(failed.map(({ operation, count }) => [operation, count]));
}

/** What ended in an error since the test began, in the background too. */
async function failed(): Promise<readonly string[]> {
  const now = [...(await failures())];
  return now.flatMap(([name, count]) => (count > (before.get(name) ?? 0) ? [name] : [])).toSorted();
}

const states = (): Promise<readonly unknown[]> =>
  Promise.all(placed.map(async (orderId) => (await shop.app.call(orders.byId, { orderId }))?.status));

/** Calls that the bank keeps, so that all that may wait for it does. */
async function crowdTheBank(): Promise<void> {
  for (let call = 0; call < 60; call += 1)
    void ask('/payments', { orderId: 800_000_000 + call, pence: 100 }).catch(() => 0);
  const bank = async (): Promise<unknown> =>
    (await shop.app.telemetry()).policies.outgoing.find((each) => 'policy' in each);
  await expect.poll(bank, { timeout: 5_000 }).toMatchObject({ policy: { bulkhead: { active: 20 } } });
}

describe('the blast radius', () => {
  test('with everything up it is empty', async () => {
    expect(degradedIn(await askForEverything())).toEqual([]);
    await expect.poll(states, { timeout: 15_000 }).toEqual(['shipped']);
    expect(await failed()).toEqual([]);
  });

  test('of a bank that hangs: what asks it, and nothing else', async () => {
    await shop.setBank({ mode: 'hanging' });
    await crowdTheBank();
    for (let round = 0; round < 3; round += 1)
      expect(degradedIn(await askForEverything())).toEqual(['payments.charge']);
    await expect.poll(states, { timeout: 15_000 }).toEqual(['reserved', 'reserved', 'reserved']);
    // Mails go out meanwhile.
    const mailed = async (): Promise<boolean> => {
      const ids = [...(await shop.mails()).keys()];
      return placed.every((orderId) => ids.some((id) => id.includes(`order-${orderId}.placed`)));
    };
    await expect.poll(mailed, { timeout: 15_000 }).toBe(true);
    await expect.poll(failed, { timeout: 15_000 }).toEqual(['payments.charge', 'payments.refund']);
    await shop.setBank({ mode: 'ok' });
    await expect.poll(states, { timeout: 30_000 }).toEqual(['shipped', 'shipped', 'shipped']);
  });

  test('of a bank that is down: the same', async () => {
    await shop.setBank({ mode: 'down' });
    expect(degradedIn(await askForEverything())).toEqual(['payments.charge']);
    await expect.poll(failed, { timeout: 15_000 }).toEqual(['payments.charge', 'payments.refund']);
    await shop.setBank({ mode: 'ok' });
    await expect.poll(states, { timeout: 30_000 }).toEqual(['shipped']);
  });

  test('of a mail server that is gone: mails', async () => {
    await shop.killMail();
    expect(degradedIn(await askForEverything())).toEqual([]);
    await expect.poll(states, { timeout: 15_000 }).toEqual(['shipped']);
    await expect.poll(failed, { timeout: 15_000 }).toEqual(['notifications.send']);
  });
});
