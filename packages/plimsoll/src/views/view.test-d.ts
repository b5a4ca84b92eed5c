import { expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { contract, event, query } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import type { EventBatch } from './view.ts';
import { view } from './view.ts';

const stock = contract('stock', {
  received: event({
    payload: z.object({
      sku: z.string(),
      count: z.number(),
      at: z.string().transform((text) => new Date(text)),
    }),
  }),
});

test('a step gets the state, the payload as it was validated, and the key, by their types', () => {
  view('levels', {
    version: 1,
    key: { sku: 'text', place: 'int' },
    columns: { count: 'int', last: 'timestamptz?', notes: 'jsonb' },
    indexes: [['count', 'sku']],
    initial: { count: 0, last: null, notes: {} },
    fold: (on) => [
      on(
        stock.received,
        ({ sku }) => ({ sku, place: 1 }),
        (state, payload, logged, key) => {
          expectTypeOf(state).toEqualTypeOf<{
            readonly count: number;
            readonly last: Date | null;
            readonly notes: unknown;
          }>();
          expectTypeOf(payload).toEqualTypeOf<{ sku: string; count: number; at: Date }>();
          expectTypeOf(logged.at).toEqualTypeOf<Date>();
          expectTypeOf(key).toEqualTypeOf<{ readonly sku: string; readonly place: number }>();
          return { ...state, count: state.count + payload.count };
        },
      ),
      on(
        stock.received,
        // @ts-expect-error a key column is missing
        ({ sku }) => ({ sku }),
        (state) => state,
      ),
      on(
        stock.received,
        ({ sku }) => ({ sku, place: 1 }),
        // @ts-expect-error the state is not of the columns
        () => ({ count: '1', last: null, notes: {} }),
      ),
      on(
        stock.received,
        ({ sku }) => [{ sku, place: 1 }],
        () => null,
      ),
      on(
        stock.received,
        () => undefined,
        (state) => state,
      ),
    ],
  });
  view('wrong', {
    version: 1,
    key: { sku: 'text' },
    columns: { count: 'int' },
    // @ts-expect-error null is for columns with ?
    initial: { count: null },
    fold: () => [],
  });
  view('wrong', {
    version: 1,
    key: { sku: 'text' },
    // @ts-expect-error there is no such type of a column
    columns: { count: 'money' },
    events: [],
    apply: async () => {},
  });
  view('wrong', {
    version: 1,
    key: { sku: 'text' },
    columns: {},
    // @ts-expect-error an index of what is no column
    indexes: [['count']],
    events: [],
    apply: async () => {},
  });
  expectTypeOf<ReturnType<EventBatch['of']>[number]['position']>().toEqualTypeOf<number>();
});

test('a module says of its queries, and of nothing else, which views they read', () => {
  const shelf = contract('shelf', {
    list: query({ input: z.object({}), output: z.number() }),
    put: event({ payload: z.object({ id: z.string() }) }),
  });
  const rows = view('rows', {
    version: 1,
    key: { id: 'text' },
    columns: {},
    initial: {},
    fold: (on) => [
      on(
        shelf.put,
        ({ id }) => ({ id }),
        (state) => state,
      ),
    ],
  });
  const queries = { list: async () => 1 };
  module(shelf, { owns: { schema: 'shelf' }, views: [rows], reads: { list: [rows] }, queries });
  // @ts-expect-error there is no such query
  module(shelf, { owns: { schema: 'shelf' }, views: [rows], reads: { lost: [rows] }, queries });
});
