import { expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { route, type Route } from '../gateway/route.ts';
import { command, contract, query } from '../modules/contract.ts';
import { createClient } from './client.ts';

const orders = contract('orders', {
  place: command({
    input: z.object({ sku: z.string(), quantity: z.number().default(1) }),
    output: z.object({ id: z.string() }),
    errors: { OutOfStock: z.object({ left: z.number() }) },
  }),
  cancel: command({ input: z.object({ id: z.string() }) }),
  count: query({ input: z.object({}), output: z.number() }),
});
const other = contract('other', { see: query({ input: z.object({}), output: z.string() }) });
const routes = [
  route('/orders', orders.place),
  route('/orders/:id/cancel', orders.cancel),
  route('/count', orders.count),
];

test('a call has the input and the result of its contract', async () => {
  const client = createClient({ baseUrl: 'http://x', routes });
  const placed = await client.call(orders.place, { sku: 'a' });
  // @ts-expect-error the declared error must be handled before the value can be read
  void placed.value;
  if (placed.ok) expectTypeOf(placed.value).toEqualTypeOf<{ id: string }>();
  else expectTypeOf(placed.data).toEqualTypeOf<{ left: number }>();
  expectTypeOf(client.call(orders.count, {})).resolves.toBeNumber();
  expectTypeOf(client.call(orders.cancel, { id: 'o' })).resolves.toBeVoid();
  // @ts-expect-error an input that the contract does not have
  void client.call(orders.place, { sku: 1 });
  // @ts-expect-error an operation that no route leads to
  void client.call(other.see, {});
  // @ts-expect-error a query cannot be enqueued
  void client.enqueue(orders.count, {});
  expectTypeOf(client.enqueue(orders.cancel, { id: 'o' })).resolves.toEqualTypeOf<{
    readonly jobId: string;
  }>();
});

test('routes of which only the list is known take every operation', () => {
  const client = createClient({ baseUrl: 'http://x', routes: routes as readonly Route[] });
  expectTypeOf(client.call(other.see, {})).resolves.toBeString();
});
