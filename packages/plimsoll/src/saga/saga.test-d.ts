import { expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { command, contract, event } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { saga, type Approval } from './saga.ts';

const stock = contract('stock', {
  reserve: command({
    input: z.object({ sku: z.string(), quantity: z.number().default(1) }),
    output: z.object({ reservation: z.string() }),
    errors: { OutOfStock: z.object({ left: z.number() }) },
  }),
  release: command({ input: z.object({ reservation: z.string() }) }),
  arrived: event({ payload: z.object({ sku: z.string() }), key: ({ sku }) => sku }),
});
const bank = contract('bank', {
  charge: command({ input: z.object({ pence: z.number() }), output: z.object({ id: z.string() }) }),
});
const orders = contract('orders', {
  place: command({ input: z.object({ sku: z.string() }) }),
});
const input = z.object({ sku: z.string().transform((sku) => sku.length) });

const inner = saga({ input: z.object({ n: z.number() }), uses: [stock] }, async () => ({ answer: 42 }));

const checkout = saga({ version: 2, input, uses: [orders, stock], previous: [] }, async (run, given) => {
  expectTypeOf(given).toEqualTypeOf<{ sku: number }>();
  const reserved = await run.step(
    'reserve',
    stock.reserve,
    { sku: 'a' },
    {
      compensate: (value) => {
        expectTypeOf(value).toEqualTypeOf<{ reservation: string }>();
        return [stock.release, { reservation: value.reservation }];
      },
    },
  );
  // @ts-expect-error the declared error must be handled before the value can be read
  void reserved.value;
  if (!reserved.ok) {
    expectTypeOf(reserved).toEqualTypeOf<{
      readonly ok: false;
      readonly error: 'OutOfStock';
      readonly data: { left: number };
    }>();
    throw run.fail('OutOfStock', reserved.data);
  }
  expectTypeOf(reserved.value).toEqualTypeOf<{ reservation: string }>();
  // @ts-expect-error a contract that the saga does not use
  await run.step('charge', bank.charge, { pence: 1 });
  // @ts-expect-error wrong input
  await run.step('reserve', stock.reserve, { sku: 1 });
  // @ts-expect-error a compensation with the wrong input
  await run.step('reserve', stock.reserve, { sku: 'a' }, { compensate: () => [stock.release, { sku: 'a' }] });
  expectTypeOf(await run.waitFor('a', stock.arrived, { key: 'a' })).toEqualTypeOf<{ sku: string }>();
  expectTypeOf(await run.waitFor('b', stock.arrived, { key: 'a', timeoutMs: 1 })).toEqualTypeOf<
    { sku: string } | undefined
  >();
  expectTypeOf(await run.approval('c')).toEqualTypeOf<Approval>();
  expectTypeOf(await run.child('d', inner, { n: 1 })).toEqualTypeOf<
    | { readonly ok: true; readonly value: { answer: number } }
    | { readonly ok: false; readonly error: string; readonly data: unknown }
  >();
  // @ts-expect-error wrong input of a child
  await run.child('d', inner, {});
  const { one, two } = await run.all({
    one: async (branch) => (await branch.step('release', stock.release, { reservation: 'r' })) ?? 'released',
    two: async () => 2,
  });
  expectTypeOf(two).toBeNumber();
  void one;
  expectTypeOf(run.now()).toBeNumber();
  return { done: true };
});

test('a module lists sagas that use no more than it does, and its commands start them with their input', () => {
  module(orders, {
    owns: { schema: 'orders' },
    uses: [stock],
    sagas: { checkout },
    commands: {
      async place({ sku }, { start }) {
        expectTypeOf(start(checkout, { sku })).toBeString();
        // @ts-expect-error the input before its transforms
        start(checkout, { sku: 1 });
      },
    },
  });
  module(orders, {
    owns: { schema: 'orders' },
    // @ts-expect-error the saga uses stock, and the module does not
    sagas: { checkout },
    commands: { async place() {} },
  });
});
