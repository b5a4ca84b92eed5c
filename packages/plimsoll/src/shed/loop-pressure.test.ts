import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { createLoopPressure, type LoopPressure } from './loop-pressure.ts';

/** A loop whose turns are as long as said: each pass through the real loop is one turn. */
function loopOf(delayMs = 40): {
  loop: LoopPressure;
  nowMs: () => number;
  work: (ms: number) => void;
  endTurn: (idleMs?: number) => Promise<void>;
} {
  let nowMs = 0;
  let idleMs = 0;
  const loop = createLoopPressure({ delayMs, now: () => nowMs, idleMs: () => idleMs });
  return {
    loop,
    nowMs: () => nowMs,
    work(ms) {
      nowMs += ms;
    },
    async endTurn(idle = 0) {
      // After the callback that ends the turn, which was there first.
      await nextTurn();
      nowMs += idle;
      idleMs += idle;
    },
  };
}

describe('the pressure of the event loop', () => {
  test('one long turn after idle time refuses nobody', async () => {
    const { loop, nowMs, work, endTurn } = loopOf();
    expect(loop.pressure(nowMs())).toBe(0);
    await endTurn(1_000);
    work(200);
    expect(loop.pressure(nowMs())).toBe(0);
  });

  test('grows with the age of the turn, not at once, once the loop is behind', async () => {
    const { loop, nowMs, work, endTurn } = loopOf();
    for (let turn = 0; turn < 40; turn += 1) {
      loop.pressure(nowMs());
      work(10);
      // Leaves enough time: this is not about spare time.
      await endTurn(1);
    }
    const seen: number[] = [];
    for (let request = 0; request < 20; request += 1) {
      seen.push(loop.pressure(nowMs()));
      work(10);
    }
    expect(seen[0]).toBe(0);
    expect(seen.at(-1)).toBe(1);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.filter((pressure) => pressure > 0 && pressure < 1).length).toBeGreaterThan(5);
  });

  test('grows while requests leave no spare time, however short the turns, and falls when they do', async () => {
    const { loop, nowMs, work, endTurn } = loopOf();
    const run = async (turns: number, idle: number): Promise<number> => {
      for (let turn = 0; turn < turns; turn += 1) {
        loop.pressure(nowMs());
        work(5);
        await endTurn(idle);
      }
      return loop.pressure(nowMs());
    };
    expect(await run(78, 0)).toBe(0);
    const first = await run(10, 0);
    const second = await run(10, 0);
    expect(first).toBeGreaterThan(0);
    expect(second).toBeGreaterThan(first);
    expect(await run(2_000, 0)).toBeLessThan(1);
    expect(await run(10, 2)).toBe(0);
  });

  test('a loop that is busy with the connections it has is not behind, however little time it has to spare', async () => {
    const { loop, nowMs, work, endTurn } = loopOf();
    for (let turn = 0; turn < 1_000; turn += 1) {
      // One after the other on the same connection, each when the one before was answered.
      expect(loop.pressure(nowMs(), turn === 0)).toBe(0);
      work(5);
      await endTurn();
    }
  });

  test('a loop that is busy with something else between requests is not behind', async () => {
    const { loop, nowMs, work, endTurn } = loopOf();
    for (let turn = 0; turn < 1_000; turn += 1) {
      if (turn % 4 === 0) loop.pressure(nowMs());
      work(5);
      await endTurn();
    }
    expect(loop.pressure(nowMs())).toBe(0);
  });
});

test('the real loop is watched without keeping it awake', async () => {
  const { performance } = await import('node:perf_hooks');
  const loop = createLoopPressure({ delayMs: 40, now: () => performance.now() });
  expect(loop.pressure(performance.now())).toBe(0);
  await nextTurn();
  expect(loop.pressure(performance.now())).toBe(0);
});
