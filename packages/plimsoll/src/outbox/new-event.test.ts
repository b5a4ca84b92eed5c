import { expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { createContext } from '../kernel/context.ts';
import { contract, event, query } from '../modules/contract.ts';
import { newEvent } from './new-event.ts';

const orders = contract('orders', {
  placed: event({
    payload: z.object({ id: z.number(), note: z.string().trim().default('none') }),
    version: 3,
    key: ({ id, note }) => `${id}/${note}`,
  }),
  bare: event({ payload: z.object({ at: z.string() }) }),
  dated: event({ payload: z.object({ at: z.date() }) }),
  later: event({ payload: z.object({}).refine(() => Promise.resolve(true)) }),
  find: query({ input: z.object({}), output: z.object({}) }),
});
const context = createContext({
  correlationId: 'request-7',
  causationId: 'event:3',
  caller: { principal: 'ada' },
});

test('carries the contract, the context, the key of the valid payload, and the payload as given', () => {
  expect(newEvent(context, orders.placed, { id: 42, note: ' quick ' })).toEqual({
    type: 'orders.placed',
    version: 3,
    key: '42/quick',
    correlationId: 'request-7',
    causationId: 'event:3',
    caller: { principal: 'ada' },
    payload: { id: 42, note: ' quick ' },
  });
});

test('an event without a key has none', () => {
  expect(newEvent(context, orders.bare, { at: 'noon' }).key).toBeUndefined();
});

test.each<[string, unknown, string]>([
  ['a wrong type', { id: '42' }, 'payload of orders.placed is not valid: id: '],
  ['a misspelt field', { ID: 42 }, 'payload of orders.placed is not valid: id: '],
  ['nothing', undefined, 'payload of orders.placed is not valid: '],
  ['a number that JSON has not', { id: NaN }, 'payload of orders.placed is not JSON: id is NaN'],
  ['what JSON cannot hold', { id: 42n }, 'payload of orders.placed is not JSON: '],
])('%s is refused at once', (_what, payload, message) => {
  const writing = (): unknown => newEvent(context, orders.placed, payload as { id: number });
  expect(writing).toThrow(expect.objectContaining({ code: 'PL_PAYLOAD_INVALID' }));
  expect(writing).toThrow(message);
});

test('a value that would arrive as another type is refused here, not at the subscriber', () => {
  expect(() => newEvent(context, orders.dated, { at: new Date(0) })).toThrow('at: ');
});

test('a schema that needs a promise is PL_SCHEMA_ASYNC', () => {
  expect(() => newEvent(context, orders.later, {})).toThrow(
    expect.objectContaining({ code: 'PL_SCHEMA_ASYNC' }),
  );
});

test('the compiler knows the payload', () => {
  expectTypeOf(newEvent<typeof orders.placed.payload>)
    .parameter(2)
    .toEqualTypeOf<{ id: number; note?: string | undefined }>();
  // @ts-expect-error: a field of another type
  expect(() => newEvent(context, orders.placed, { id: 'a' })).toThrow('id');
  // @ts-expect-error: only an event is written
  expect(() => newEvent(context, orders.find, {})).toThrow();
});
