import type { GatewayShed } from '../gateway/options.ts';
import { shedDefaults } from '../shed/options.ts';
import type { Plan } from './plan.ts';

/** Durations of most operations scatter so that their mean is at half of their p95 or below. */
const meanOfP95 = 0.5;

/** Part of the tightest p95 that a request may wait for the event loop; and no less than that, which is noise. */
const loopOfP95 = 0.4;
const leastLoopDelayMs = 10;

/** From when on an answer is worth little, by the objectives. */
export function shedOf({ objectives }: Plan): Required<Pick<GatewayShed, 'targetMs' | 'loopDelayMs'>> {
  const own = new Map(objectives.operations?.map(({ operation, p95Ms }) => [operation.id, p95Ms]));
  const tightest = Math.min(objectives.default.p95Ms, ...own.values());
  return {
    targetMs: (operation) => meanOfP95 * (own.get(operation) ?? objectives.default.p95Ms),
    loopDelayMs: Math.min(shedDefaults.loopDelayMs, Math.max(leastLoopDelayMs, loopOfP95 * tightest)),
  };
}
