import { expect, test } from 'vitest';
import { listen } from './fixtures/target.ts';
import { holdRate } from './hold-rate.ts';
import type { Scenario } from './scenario.ts';

const scenario: Scenario = {
  name: 'one operation',
  requestsPerSession: 1,
  session: () => [{ operation: 'list', method: 'GET', path: '/list', afterMs: 0 }],
};
const objectives = { default: { p95Ms: 200, errorRate: 0.01 }, byOperation: {} };

test('holds a rate past what the target can do, and tells good answers from late ones and refusals', async () => {
  let asked = 0;
  await using target = await listen((response) => {
    asked += 1;
    if (asked % 4 === 0) return void setTimeout(() => response.end('late'), 400);
    if (asked % 4 === 1) response.setHeader('retry-after', '1');
    if (asked % 4 <= 1 || asked % 8 === 2) response.statusCode = 503;
    response.end('{}');
  });
  const { overall, goodRps, offeredRps, recovered } = await holdRate({
    target: target.origin,
    scenario,
    objectives,
    rateRps: 400,
    measuredMs: 1_000,
    seed: 1,
  });
  expect(recovered).toBe(true);
  const { '503': told = 0, '503 without Retry-After': mute = 0 } = Object.fromEntries(
    Object.entries(overall.errorKinds).map(([kind, count]) => [kind.replace('status ', ''), count]),
  );
  expect(told / overall.count).toBeCloseTo(0.25, 1);
  expect(mute / overall.count).toBeCloseTo(0.125, 1);
  expect(overall.late / overall.count).toBeCloseTo(0.25, 1);
  expect(goodRps).toBe(overall.count - told - mute - overall.late);
  expect(offeredRps).toBe(overall.count);
});
