import { expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import type { Queryable } from '../database/statements.ts';
import { command, contract, event, query } from './contract.ts';
import { module } from './module.ts';
import { cached } from './query-cache.ts';
import { fake } from '../testing/fake.ts';

const inventory = contract('inventory', {
  reserve: command({
    input: z.object({ sku: z.string(), quantity: z.number().default(1) }),
    output: z.object({ id: z.string() }),
    errors: { OutOfStock: z.object({ left: z.number() }) },
  }),
  stock: query({ input: z.object({ sku: z.string() }), output: z.object({ available: z.number() }) }),
  low: event({ payload: z.object({ sku: z.string() }), key: (payload) => payload.sku }),
});
const billing = contract('billing', {
  charge: command({ input: z.object({ pence: z.number() }), output: z.object({ ok: z.boolean() }) }),
});
const other = contract('other', { happened: event({ payload: z.object({}) }) });
const orders = contract('orders', {
  place: command({
    input: z.object({ lines: z.array(z.string()) }),
    output: z.object({ orderId: z.string() }),
    errors: { EmptyBasket: z.object({}), SoldOut: z.object({ sku: z.string() }) },
  }),
  touch: command({ input: z.object({}) }),
  placed: event({ payload: z.object({ orderId: z.string() }) }),
  count: query({ input: z.object({}), output: z.number() }),
});

test('handlers are inferred, and what is not declared does not compile', () => {
  module(orders, {
    owns: { schema: 'orders' },
    uses: [inventory],
    commands: {
      async place(input, { call, emit, enqueue, fail }) {
        expectTypeOf(input).toEqualTypeOf<{ lines: string[] }>();
        if (input.lines.length === 0) return fail('EmptyBasket', {});
        const { available } = await call(inventory.stock, { sku: 'a' });
        expectTypeOf(available).toBeNumber();
        const reserved = await call(inventory.reserve, { sku: 'a' });
        // @ts-expect-error the declared error must be handled before the value can be read
        void reserved.value;
        if (!reserved.ok) {
          expectTypeOf(reserved).toEqualTypeOf<{
            readonly ok: false;
            readonly error: 'OutOfStock';
            readonly data: { left: number };
          }>();
          return fail('SoldOut', { sku: 'a' });
        }
        emit(orders.placed, { orderId: reserved.value.id });
        expectTypeOf(enqueue(inventory.reserve, { sku: 'a', quantity: 2 })).toBeString();
        // @ts-expect-error an event of another module
        emit(inventory.low, { sku: 'a' });
        // @ts-expect-error a contract that is not in `uses`
        await call(billing.charge, { pence: 1 });
        // @ts-expect-error an error that the command does not declare
        fail('Nope', {});
        // @ts-expect-error wrong input
        enqueue(inventory.reserve, { sku: 1 });
        return { orderId: reserved.value.id };
      },
      async touch() {},
    },
    queries: {
      async count(_input, { call, db }) {
        expectTypeOf(db).toEqualTypeOf<Queryable>();
        // @ts-expect-error a query cannot call a command
        await call(orders.touch, {});
        return 1;
      },
    },
    on: (on) => [
      on(inventory.low, { name: 'pause' }, async (payload, { call, delivery }) => {
        expectTypeOf(payload).toEqualTypeOf<{ sku: string }>();
        expectTypeOf(delivery.attempt).toBeNumber();
        await call(inventory.stock, payload);
      }),
      on(
        inventory.low,
        { name: 'first', ordered: 'key', onPark: 'skip', from: { position: 1 } },
        async () => {},
      ),
      on(inventory.low, { name: 'since', from: { time: new Date() } }, async (_payload, { delivery }) => {
        expectTypeOf(delivery.replay).toEqualTypeOf<number | undefined>();
      }),
      // @ts-expect-error no such order
      on(inventory.low, { name: 'second', ordered: 'time' }, async () => {}),
      // @ts-expect-error no such beginning
      on(inventory.low, { name: 'third', from: 'yesterday' }, async () => {}),
      // @ts-expect-error an event of a contract that is not in `uses`
      on(other.happened, { name: 'x' }, async () => {}),
    ],
  });
});

test('the last upcast gives what the payload reads, from what nobody can know', () => {
  const payload = z.object({ sku: z.string() });
  event({
    payload,
    version: 3,
    upcast: {
      1: (old) => {
        expectTypeOf(old).toBeUnknown();
        return 'anything';
      },
      2: () => ({ sku: 'a' }),
    },
  });
  // @ts-expect-error the step to this version must give a payload
  event({ payload, version: 2, upcast: { 1: () => ({ sku: 1 }) } });
});

test('what is left of a payload without its personal data is a payload', () => {
  const payload = z.object({ id: z.string(), email: z.string().transform((email) => email.length) });
  event({
    payload,
    personal: {
      subject: (valid) => {
        expectTypeOf(valid).toEqualTypeOf<{ id: string; email: number }>();
        return valid.id;
      },
      erase: (given) => {
        expectTypeOf(given).toEqualTypeOf<{ id: string; email: string }>();
        return { ...given, email: '' };
      },
    },
  });
  // @ts-expect-error a field is missing
  event({ payload, personal: { subject: ({ id }) => id, erase: ({ id }) => ({ id }) } });
});

test('a module owns a schema or tables, not both, not neither', () => {
  const nothing = contract('nothing', {});
  module(nothing, { owns: { schema: 'a' } });
  module(nothing, { owns: { tables: ['public.a'] } });
  // @ts-expect-error both
  expect(() => module(nothing, { owns: { schema: 'a', tables: ['public.a'] } })).toThrow('not both');
  // @ts-expect-error neither
  expect(() => module(nothing, { owns: {} })).toThrow('not both');
});

test('an external effect gives what it resolves to; a fake is typed by its contract', () => {
  module(billing, {
    owns: { schema: 'billing' },
    commands: {
      async charge({ pence }, { external }) {
        const answer = await external('bank', 'o1', async (signal, key) => {
          expectTypeOf(signal).toEqualTypeOf<AbortSignal>();
          return { key, pence };
        });
        expectTypeOf(answer).toEqualTypeOf<{ key: string; pence: number }>();
        return { ok: true };
      },
    },
  });
  fake(inventory, { stock: async ({ sku }) => ({ available: sku.length }) });
  // @ts-expect-error wrong output
  fake(inventory, { stock: async () => ({ available: 'many' }) });
  // @ts-expect-error no such operation
  fake(inventory, { nothing: async () => undefined });
});

test('a missing handler and a wrong result do not compile', () => {
  // @ts-expect-error `commands` is missing
  module(billing, { owns: { schema: 'billing' } });
  // @ts-expect-error `charge` must give { ok: boolean }
  module(billing, { owns: { schema: 'billing' }, commands: { charge: async () => ({ ok: 1 }) } });
  module(billing, {
    owns: { schema: 'billing' },
    commands: { charge: async (input) => ({ ok: input.pence > 0 }) },
  });
});

test('a cached query without a time or without tags does not compile', () => {
  const shown = contract('shown', {
    tagged: query({
      input: z.object({ sku: z.string().transform(Number) }),
      output: z.number(),
      tags: ({ sku }) => {
        expectTypeOf(sku).toBeNumber();
        return [`stock:${sku}`];
      },
    }),
    bare: query({ input: z.object({ sku: z.string() }), output: z.number() }),
    write: command({ input: z.object({}) }),
  });
  cached(shown.tagged, { ttlMs: 1_000, by: ['tenant'], unaffectedBy: [shown.write, 'shown.pause'] });
  cached(shown.bare, { ttlMs: 1_000, tags: ({ sku }) => [`stock:${sku}`] });
  // @ts-expect-error no time
  cached(shown.tagged, {});
  // @ts-expect-error no tags, neither here nor in the contract
  cached(shown.bare, { ttlMs: 1_000 });
  // @ts-expect-error there may be no list without a tag
  cached(shown.bare, { ttlMs: 1_000, tags: () => [] });
  // @ts-expect-error a command
  cached(shown.write, { ttlMs: 1_000, tags: () => ['a'] });
});
