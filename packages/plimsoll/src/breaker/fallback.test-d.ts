import { expectTypeOf, test } from 'vitest';
import { createBreaker, withFallback, type Degradable } from './index.ts';

interface Rates {
  readonly eur: number;
}
const breaker = createBreaker({ name: 'bank' });

test('whoever reads the value sees that it may be another one', async () => {
  const rates = await withFallback(
    breaker,
    async (): Promise<Rates> => ({ eur: 1 }),
    () => null,
  );
  expectTypeOf(rates).toEqualTypeOf<Degradable<Rates, null>>();
  // @ts-expect-error it may be the null of the fallback
  void rates.value.eur;
  // @ts-expect-error only a degraded result has a reason
  void rates.reason;
  if (rates.degraded) expectTypeOf(rates.value).toEqualTypeOf<null>();
  else expectTypeOf(rates.value).toEqualTypeOf<Rates>();
});
