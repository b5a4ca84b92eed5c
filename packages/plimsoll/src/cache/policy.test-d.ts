import { expectTypeOf, test } from 'vitest';
import { cachePolicy, createCache } from './index.ts';

const cache = createCache({ name: 'types' });

test('a policy without a time or tags does not compile', () => {
  // @ts-expect-error no time
  cachePolicy({ tags: ['t'] });
  // @ts-expect-error no tags
  cachePolicy({ ttlMs: 1 });
  // @ts-expect-error not one tag
  cachePolicy({ ttlMs: 1, tags: [] });
  // @ts-expect-error not one tag
  cachePolicy({ ttlMs: 1, tags: () => [] });
  // @ts-expect-error neither
  void cache.get('k', { load: () => 1 });
  // @ts-expect-error no loader
  void cache.get('k', { ttlMs: 1, tags: ['t'] });
});

test('what is answered has the type of what is loaded', () => {
  const policy = cachePolicy({ ttlMs: 1, tags: (key) => [`row:${key}`, 'rows'] });
  expectTypeOf(cache.get('k', policy, () => ({ n: 1 }))).toEqualTypeOf<Promise<{ n: number }>>();
  expectTypeOf(cache.get('k', policy, async (): Promise<string | null> => null)).toEqualTypeOf<
    Promise<string | null>
  >();
  expectTypeOf(cache.get('k', { ttlMs: 1, tags: ['t'], load: () => 7 })).toEqualTypeOf<Promise<number>>();
});
