import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seeded } from '../limit/fixtures/simulation.ts';
import { ClientShares } from './client-shares.ts';

describe('what each client has', () => {
  test('is never counted too low, and nothing is left when all have ended', () => {
    const steps = fc.array(fc.record({ client: fc.string({ maxLength: 3 }), ends: fc.boolean() }), {
      maxLength: 300,
    });
    fc.assert(
      fc.property(steps, fc.integer(), (taken, seed) => {
        const shares = new ClientShares(seeded(seed));
        const model = new Map<string, number>();
        for (const { client, ends } of taken) {
          const has = model.get(client) ?? 0;
          if (!ends) {
            shares.begin(shares.place(client), 0);
            model.set(client, has + 1);
          } else if (has > 0) {
            shares.end(shares.place(client));
            model.set(client, has - 1);
          }
          expect(shares.underWay(shares.place(client))).toBeGreaterThanOrEqual(model.get(client) ?? 0);
        }
        for (const [client, has] of model)
          for (let one = 0; one < has; one += 1) shares.end(shares.place(client));
        for (const client of model.keys()) expect(shares.underWay(shares.place(client))).toBe(0);
      }),
    );
  });

  test('ten thousand names of one attacker raise what others seem to have by a few at most', () => {
    const shares = new ClientShares(seeded(1));
    // As many as could be under way at once.
    for (let at = 0; at < 200; at += 1) shares.begin(shares.place(`attacker-${at}`), 0);
    let most = 0;
    for (let at = 0; at < 10_000; at += 1)
      most = Math.max(most, shares.underWay(shares.place(`honest-${at}`)));
    expect(most).toBeLessThanOrEqual(3);
  });

  test('the share of late forgets what is older than two seconds', () => {
    const shares = new ClientShares(seeded(1));
    const [heavy, light] = [shares.place('heavy'), shares.place('light')];
    for (let request = 0; request < 9; request += 1) shares.begin(heavy, 100);
    shares.begin(light, 100);
    expect(shares.recentShare(heavy, 100)).toBe(0.9);
    expect(shares.recentShare(light, 1_200)).toBe(0.1);
    expect(shares.recentShare(heavy, 2_300)).toBe(0);
  });

  test('long keys that begin alike, as tokens do, are told apart', () => {
    const shares = new ClientShares(seeded(1));
    const token = 'eyJhbGciOiJIUzI1NiJ9.'.repeat(40);
    shares.begin(shares.place(`${token}one`), 0);
    expect(shares.underWay(shares.place(`${token}two`))).toBe(0);
  });
});
