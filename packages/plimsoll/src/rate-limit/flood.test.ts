import { expect, test } from 'vitest';
import { flood } from './fixtures/flood.ts';
import { floodProblems, floodRules } from './fixtures/flood-rules.ts';

// 10 M of them take too long here; `npm run soak:keys` has as many.
test.for(floodRules)(
  'a flood of 2 M distinct keys through a $kind: bounded memory, and who was there before is answered as ever',
  { timeout: 30_000 },
  (rule) => {
    const report = flood(2_000_000, rule);
    expect(floodProblems(report, rule)).toEqual([]);
    // He had his points, tried all the time, and got those that came back.
    expect(report.attacker).toEqual({ calls: 2_020, allowed: rule.kind === 'rate' ? 13 : 10 });
  },
);
