import { holdRate, type HeldRate, type Scenario } from '@plimsoll/cli/load';
import type { Record, Shop } from './record.ts';

interface Overload {
  /** What ends first. */
  readonly name: string;
  readonly scenario: Scenario;
  /** The first rate that is tried. */
  readonly from: number;
  /** Share of the peak that must be left at twice and four times of it. */
  readonly least: number;
}

const growth = 1.5;
const longestCalibration = 14;

/**
 * Finds what the shop can do, offers twice and four times as much, and looks whether it is as before once that is over.
 * Returns the good answers per second at its best.
 */
export async function overload(
  record: Record,
  shop: Shop,
  { name, scenario, from, least }: Overload,
): Promise<number> {
  const { target, objectives, seed, signal, stepMs } = shop;
  let firstSession = 0;
  async function step(what: string, rateRps: number, measuredMs: number): Promise<HeldRate> {
    signal.throwIfAborted();
    const held = await holdRate({
      target,
      scenario,
      objectives,
      seed,
      signal,
      rateRps,
      measuredMs,
      firstSession,
    });
    firstSession += 1_000;
    record.add(name, what, held, objectives);
    return held;
  }

  // Code that has not run yet is slow, and is not what is measured.
  await step('warm-up', from / 2, stepMs / 2);
  let peak = 0;
  let rate = from;
  let misses = 0;
  for (let tried = 0; tried < longestCalibration && misses < 2; tried += 1) {
    const { goodRps, offeredRps } = await step('calibration', rate, stepMs / 3);
    peak = Math.max(peak, goodRps);
    // One step may meet a neighbour's work.
    if (goodRps < 0.9 * offeredRps) misses += 1;
    else {
      misses = 0;
      rate *= growth;
    }
  }
  // The rate between the last that held and the first that did not may be better than both.
  peak = Math.max(peak, (await step('1x', peak, stepMs)).goodRps);
  const rssBytes = async (): Promise<number> => (await shop.telemetry()).process.rssBytes;
  const usualBytes = await rssBytes();

  for (const factor of [2, 4]) {
    const { goodRps, overall } = await step(`${factor}x`, factor * peak, 2 * stepMs);
    const kinds = overall.errorKinds;
    record.expect(
      `${name} at ${factor}x: goodput is at least ${least * 100} % of the peak`,
      goodRps >= least * peak,
      {
        goodRps,
        peak,
      },
    );
    record.expect(
      `${name} at ${factor}x: no admitted request times out`,
      (kinds['timeout'] ?? 0) === 0,
      kinds,
    );
    record.expect(
      `${name} at ${factor}x: the rest is 503 with Retry-After`,
      Object.keys(kinds).every((kind) => kind === 'status 503' || kind === 'timeout'),
      kinds,
    );
    const row = record.rows.at(-1);
    record.expect(
      `${name} at ${factor}x: admitted p99 within the objective`,
      (row?.p99OfObjective ?? 0) <= 1,
      {
        p99OfObjective: row?.p99OfObjective,
      },
    );
  }

  // Five seconds of a load that is easy, then it must be as before.
  await step('after: 5 s', 0.5 * peak, 5_000);
  const { overall } = await step('after', 0.5 * peak, stepMs / 2);
  record.expect(
    `${name}: normal 5 s after the load has dropped`,
    overall.errors <= 0.001 * overall.count + 1,
    {
      errorKinds: overall.errorKinds,
      count: overall.count,
    },
  );
  const bytes = await rssBytes();
  record.expect(`${name}: memory is flat`, bytes < 1.3 * usualBytes + 64e6, { usualBytes, bytes });
  return peak;
}
