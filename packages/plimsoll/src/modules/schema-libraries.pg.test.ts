import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { type } from 'arktype';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, expectTypeOf, inject, test } from 'vitest';
import { z } from 'zod';
import { sql } from '../database/sql.ts';
import { scenario } from '../testing/scenario.ts';
import { testModule, type TestedModule } from '../testing/test-module.ts';
import { command, contract, event } from './contract.ts';
import { module, type Module } from './module.ts';

/** The same contract three times; `order` trims its sku and has a default quantity. */
const zod = contract('shop', {
  order: command({
    input: z.object({ sku: z.string().trim(), quantity: z.number().default(1) }),
    output: z.object({ sku: z.string(), quantity: z.number() }),
    errors: { SoldOut: z.object({ left: z.number() }) },
  }),
  ordered: event({ payload: z.object({ sku: z.string() }) }),
});
const valibot = contract('shop', {
  order: command({
    input: v.object({ sku: v.pipe(v.string(), v.trim()), quantity: v.optional(v.number(), 1) }),
    output: v.object({ sku: v.string(), quantity: v.number() }),
    errors: { SoldOut: v.object({ left: v.number() }) },
  }),
  ordered: event({ payload: v.object({ sku: v.string() }) }),
});
const arktype = contract('shop', {
  order: command({
    input: type({ sku: 'string.trim', quantity: 'number = 1' }),
    output: type({ sku: 'string', quantity: 'number' }),
    errors: { SoldOut: type({ left: 'number' }) },
  }),
  ordered: event({ payload: type({ sku: 'string' }) }),
});

const heard: string[] = [];
const owns = { schema: 'shop' };
const hear = ({ sku }: { sku: string }): Promise<void> => Promise.resolve(void heard.push(sku));
const zodModule = module(zod, {
  owns,
  commands: {
    async order(input, { emit, fail }) {
      expectTypeOf(input).toEqualTypeOf<{ sku: string; quantity: number }>();
      if (input.sku === 'none') return fail('SoldOut', { left: 0 });
      if (input.sku === 'wrong') return fail('SoldOut', { left: 'none' } as never);
      if (input.sku === 'bad') return { sku: 7 } as never;
      emit(zod.ordered, input.sku === 'odd' ? ({ sku: 7 } as never) : { sku: input.sku });
      return input;
    },
  },
  on: (on) => [on(zod.ordered, { name: 'hear' }, hear)],
});
const valibotModule = module(valibot, {
  owns,
  commands: {
    async order(input, { emit, fail }) {
      expectTypeOf(input).toEqualTypeOf<{ sku: string; quantity: number }>();
      if (input.sku === 'none') return fail('SoldOut', { left: 0 });
      if (input.sku === 'wrong') return fail('SoldOut', { left: 'none' } as never);
      if (input.sku === 'bad') return { sku: 7 } as never;
      emit(valibot.ordered, input.sku === 'odd' ? ({ sku: 7 } as never) : { sku: input.sku });
      return input;
    },
  },
  on: (on) => [on(valibot.ordered, { name: 'hear' }, hear)],
});
const arktypeModule = module(arktype, {
  owns,
  commands: {
    async order(input, { emit, fail }) {
      expectTypeOf(input).toEqualTypeOf<{ sku: string; quantity: number }>();
      if (input.sku === 'none') return fail('SoldOut', { left: 0 });
      if (input.sku === 'wrong') return fail('SoldOut', { left: 'none' } as never);
      if (input.sku === 'bad') return { sku: 7 } as never;
      emit(arktype.ordered, input.sku === 'odd' ? ({ sku: 7 } as never) : { sku: input.sku });
      return input;
    },
  },
  on: (on) => [on(arktype.ordered, { name: 'hear' }, hear)],
});

describe.each<[string, Module, typeof zod]>([
  ['Zod', zodModule, zod],
  ['Valibot', valibotModule, valibot as unknown as typeof zod],
  ['ArkType', arktypeModule, arktype as unknown as typeof zod],
])('%s', (_library, shopModule, shop) => {
  let server: TestDatabase;
  let app: TestedModule;
  beforeAll(async () => {
    server = await createTestDatabase(inject('cluster'));
    app = await testModule(shopModule, { database: server });
  });
  afterAll(async () => {
    await app.stop();
    await server.drop();
  });

  test('input is transformed, output and event pass', async () => {
    heard.length = 0;
    const { results, emitted } = await scenario(app).call(shop.order, { sku: ' mug ' }).untilIdle();
    expect(results).toEqual([{ ok: true, value: { sku: 'mug', quantity: 1 } }]);
    expect(emitted(shop.ordered)).toEqual([{ sku: 'mug' }]);
    expect(heard).toEqual(['mug']);
  });

  test('a declared error comes back as a value', async () => {
    expect(await app.call(shop.order, { sku: 'none' })).toEqual({
      ok: false,
      error: 'SoldOut',
      data: { left: 0 },
    });
  });

  test('what is not valid is refused with the path', async () => {
    const order = (sku: unknown): Promise<unknown> => app.call(shop.order, { sku } as { sku: string });
    const issue = (path: string): object => ({
      issues: expect.arrayContaining([expect.objectContaining({ path })]) as unknown,
    });
    await expect(order(7)).rejects.toMatchObject({ code: 'PL_INPUT_INVALID', data: issue('sku') });
    await expect(order('bad')).rejects.toMatchObject({ code: 'PL_OUTPUT_INVALID', data: issue('sku') });
    await expect(order('odd')).rejects.toMatchObject({ code: 'PL_PAYLOAD_INVALID', data: issue('sku') });
    await expect(order('wrong')).rejects.toMatchObject({ code: 'PL_PAYLOAD_INVALID', data: issue('left') });
    expect(await app.database.query(sql`select 1 from plimsoll.outbox`)).toEqual([]);
  });
});
