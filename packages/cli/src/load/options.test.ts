import { describe, expect, it } from 'vitest';
import { LoadError } from './load-error.ts';
import { planLoad } from './options.ts';
import type { LoadOptions } from './options.ts';

const options: LoadOptions = {
  target: 'http://127.0.0.1:3000',
  scenario: {
    name: 'shop',
    requestsPerSession: 1,
    session: () => [{ operation: 'list', method: 'GET', path: '/', afterMs: 700 }],
  },
  objectives: { default: { p95Ms: 100, errorRate: 0.01 }, byOperation: {} },
  expectedPeakRps: 100,
};

function failureOf(given: Partial<LoadOptions>): LoadError {
  try {
    planLoad({ ...options, ...given });
  } catch (error) {
    if (error instanceof LoadError) return error;
  }
  throw new Error('expected a LoadError');
}

describe('planLoad', () => {
  it('chooses step lengths from the budget and the lead-in from the sessions', () => {
    expect(planLoad(options).search).toMatchObject({ stepMs: 4_000, budgetMs: 60_000, leadInMs: 700 });
    expect(planLoad({ ...options, durationMs: 90_000 }).search.stepMs).toBe(6_000);
  });

  it.each(['http://localhost:1', 'http://127.8.0.1', 'http://[::1]:3000', 'http://shop.localhost'])(
    'takes %s for this machine',
    (target) => {
      expect(planLoad({ ...options, target }).origin).toBe(new URL(target).origin);
    },
  );

  it.each(['https://example.org', 'http://10.0.0.1', 'http://127.0.0.1.example.org'])(
    'refuses %s',
    (target) => {
      const error = failureOf({ target });
      expect(error.code).toBe('PL_LOAD_REMOTE');
      expect(error.message).toContain('allowRemote');
      expect(planLoad({ ...options, target, allowRemote: true }).origin).toBe(new URL(target).origin);
    },
  );

  it('reports every problem at once', () => {
    const { code, message } = failureOf({
      target: 'ftp://x',
      expectedPeakRps: 0,
      durationMs: 10,
      objectives: { default: { p95Ms: -1, errorRate: 2 }, byOperation: {} },
      scenario: { ...options.scenario, requestsPerSession: 5, gaps: [0, 0] },
    });
    expect(code).toBe('PL_LOAD_OPTIONS');
    for (const name of [
      'target',
      'expectedPeakRps',
      'durationMs',
      'p95Ms',
      'errorRate',
      'requestsPerSession',
      'gaps',
    ]) {
      expect(message).toContain(name);
    }
  });

  it('says what duration a low cap needs', () => {
    expect(failureOf({ expectedPeakRps: 2, maxRps: 5 }).message).toContain('use durationMs 176000');
    expect(planLoad({ ...options, expectedPeakRps: 2, maxRps: 8, durationMs: 176_000 })).toBeDefined();
  });
});
