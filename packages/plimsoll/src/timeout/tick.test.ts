import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { begin } from '../kernel/attempt.ts';
import { systemClock } from '../kernel/clock.ts';
import { currentTick, tickMs, type Tick } from '../kernel/coarse-clock.ts';
import { contextWatch } from '../kernel/context-watch.ts';
import { TimedCall } from './timed-call.ts';

const ms = 30;

/** Reckoned from the beginning of a tick that began long ago; when it was given up. */
async function endOfHanging(tick: Tick): Promise<number> {
  const calls = { name: 'bank', ms, watch: contextWatch, inFlight: 0, timedOut: 0, pastDeadline: 0 };
  const call = new TimedCall<never>({
    calls,
    context: undefined,
    within: undefined,
    number: 1,
    deadlineAtMs: tick.beganAtMs + ms,
    isDeadline: false,
    tick,
  });
  const waiting = call.until(begin(() => new Promise(() => undefined), call));
  await expect(waiting).rejects.toMatchObject({ code: 'PL_TIMEOUT' });
  expect(calls).toMatchObject({ inFlight: 0, timedOut: 1 });
  return systemClock.monotonicMs();
}

test('a call that began somewhen in a tick has its time from the end of the tick on', async () => {
  const endedAtMs = systemClock.monotonicMs();
  const over = { beganAtMs: endedAtMs - 5_000, endedAtMs };
  expect(await endOfHanging(over)).toBeGreaterThanOrEqual(endedAtMs + ms);
});

test('a tick that has not ended when its calls seem late has been held up, and they are not', async () => {
  const nowMs = systemClock.monotonicMs();
  const tick: Tick = { beganAtMs: nowMs - 5_000, endedAtMs: Infinity };
  const end = endOfHanging(tick);
  // The deadlines are looked through before the tick ends.
  await nextTurn();
  tick.endedAtMs = nowMs + 10;
  expect(await end).toBeGreaterThanOrEqual(nowMs + ms);
});

test('a tick ends, knows when, and the next one begins when somebody asks', async () => {
  const tick = currentTick();
  expect(currentTick()).toBe(tick);
  while (currentTick() === tick) await systemClock.sleep(1);
  expect(tick.endedAtMs - tick.beganAtMs).toBeGreaterThanOrEqual(tickMs - 1);
  expect(currentTick().beganAtMs).toBeGreaterThanOrEqual(tick.endedAtMs);
});
