import { expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { route, type Route } from '../gateway/route.ts';
import { contract, query } from '../modules/contract.ts';
import { httpCachePolicy } from './policy.ts';

const shop = contract('shop', {
  product: query({ input: z.object({ id: z.coerce.number() }), output: z.object({ name: z.string() }) }),
});

test('a policy without a time or tags does not compile', () => {
  // @ts-expect-error no time
  httpCachePolicy({ tags: ['t'] });
  // @ts-expect-error no tags
  httpCachePolicy({ ttlMs: 1_000 });
  // @ts-expect-error not one tag
  httpCachePolicy({ ttlMs: 1_000, tags: [] });
  // @ts-expect-error not one tag
  httpCachePolicy({ ttlMs: 1_000, tags: () => [] });
  // @ts-expect-error no tags
  route('/p/:id', shop.product, { cache: { ttlMs: 1_000 } });
});

test('tags of a route are made from the input as the schema gives it, and the output', () => {
  const cached = route('/p/:id', shop.product, {
    cache: {
      ttlMs: 1_000,
      tags: (input, output) => {
        expectTypeOf(input).toEqualTypeOf<{ id: number }>();
        expectTypeOf(output).toEqualTypeOf<{ name: string }>();
        return [`product:${input.id}`];
      },
    },
  });
  expectTypeOf(cached).toExtend<Route>();
});
