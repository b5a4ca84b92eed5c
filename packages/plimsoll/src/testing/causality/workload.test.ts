import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { CausalSystem } from './system.ts';
import type { WorkloadOptions } from './workload-options.ts';
import { runWorkload } from './workload.ts';

/** A log, and two copies that follow it by chance: what a token says decides which of them may answer. */
function replicated(rule: 'token' | 'any replica' | 'token without reads'): CausalSystem {
  const log: { key: string; note: string }[] = [];
  const replayed = [0, 0];
  const at = (position: number, key: string) => {
    const written = log.slice(0, position).filter((each) => each.key === key);
    return { version: written.length, note: written.at(-1)?.note };
  };
  const later = (one = '0', other = '0'): string => String(Math.max(Number(one), Number(other)));
  return {
    async read(key, { token = '0', choice }) {
      await setImmediate();
      const chosen = Math.floor(choice * 2);
      const ownMs = Math.max(replayed[chosen] ?? 0, log.length - 30);
      replayed[chosen] = choice * 20 < 1 ? log.length : ownMs;
      const position = rule === 'any replica' || ownMs >= Number(token) ? ownMs : log.length;
      const answer = at(position, key);
      return rule === 'token without reads' ? answer : { ...answer, token: later(token, String(position)) };
    },
    async write(key, note, { token }) {
      await setImmediate();
      log.push({ key, note });
      return { version: at(log.length, key).version, token: later(token, String(log.length)) };
    },
    merge: later,
  };
}

const options: WorkloadOptions = {
  seed: 1,
  operations: 4_000,
  keys: 8,
  thinkMs: 1,
  awayMs: 20,
  handOverShare: 0.05,
};

describe('a workload', () => {
  test('finds nothing in a system that keeps its promises, and has done all that it says', async () => {
    const { checker, operations, handOvers, failures } = await runWorkload(replicated('token'), options);
    expect(checker.violations).toEqual([]);
    expect(operations).toBeGreaterThanOrEqual(4_000);
    expect(checker.reads + checker.writes).toBe(operations);
    expect(checker.writes).toBeGreaterThan(200);
    expect(handOvers['text']).toBeGreaterThan(50);
    expect(failures).toEqual({});
  });

  test('finds what any replica hides', async () => {
    const { checker } = await runWorkload(replicated('any replica'), options);
    const found = checker.violationsByGuarantee;
    expect(found['read-your-writes']).toBeGreaterThan(10);
    expect(found['monotonic-reads']).toBeGreaterThan(10);
    expect(found['writes-follow-reads']).toBeGreaterThan(0);
    expect(checker.violations[0]?.before.length).toBeGreaterThan(0);
  });

  test('finds that reads are not in the token', async () => {
    const { checker } = await runWorkload(replicated('token without reads'), options);
    expect(checker.violationsByGuarantee['read-your-writes']).toBeUndefined();
    expect(checker.violationsByGuarantee['monotonic-reads']).toBeGreaterThan(0);
  });

  test('counts what fails, takes a write that failed for unknown, and ends with its signal', async () => {
    const whole = replicated('token');
    const stop = new AbortController();
    let asked = 0;
    const system: CausalSystem = {
      ...whole,
      async read(key, client) {
        asked += 1;
        if (asked > 300) stop.abort();
        if (asked % 10 === 0) throw new Error('no server');
        return await whole.read(key, client);
      },
      async write(key, note, client) {
        const written = await whole.write(key, note, client);
        if (asked % 3 === 0) throw new Error('connection lost');
        return written;
      },
    };
    const report = await runWorkload(system, { ...options, operations: Infinity, signal: stop.signal });
    expect(report.checker.violations).toEqual([]);
    expect(report.failures['read: no server']).toBe(report.failedReads);
    expect(report.failedReads).toBeGreaterThan(20);
    expect(report.checker.unknown).toBe(report.failedWrites);
    expect(report.failedWrites).toBeGreaterThan(0);
  });

  test('refuses what cannot be, all at once', async () => {
    const { read, write }: Record<'read' | 'write', () => Promise<never>> = {
      read: () => Promise.reject(new Error('not asked')),
      write: () => Promise.reject(new Error('not asked')),
    };
    const wrong: WorkloadOptions = {
      keys: 0,
      readShare: 2,
      thinkMs: -1,
      sessions: { fast: 0, slow: 0, returning: 0 },
    };
    await expect(runWorkload({ read, write }, wrong)).rejects.toMatchObject({
      code: 'PL_CONFIG',
      message: expect.stringMatching(/keys[^]*readShare[^]*thinkMs[^]*sessions/) as string,
    });
  });
});
