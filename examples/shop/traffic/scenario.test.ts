import type { PlannedRequest } from '@plimsoll/cli/load';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { routes } from '../routes.ts';
import { gapsBetween } from './arrivals.ts';
import { createShopScenario } from './scenario.ts';

const scenario = await createShopScenario();

/** Numerical Recipes' generator: any will do, as long as it can be repeated. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32) / 2 ** 32;
}

const sessions = (count: number, seed: number): (readonly PlannedRequest[])[] => {
  const random = seeded(seed);
  return Array.from({ length: count }, (_, index) => scenario.session(index, random));
};
// Four times all visits of the week.
const requests = sessions(4 * 464, 1).flat();

test('about nine of ten requests are reads, and the stated mean is the real one', () => {
  const reads = requests.filter(({ method }) => method === 'GET').length / requests.length;
  expect(reads).toBeGreaterThan(0.85);
  expect(reads).toBeLessThan(0.95);
  expect(requests.length / (4 * 464)).toBeCloseTo(scenario.requestsPerSession, 1);
});

test('every request is one that a route takes: path, method and input', () => {
  for (const { operation, method, path, body } of requests) {
    const url = new URL(path, 'http://shop');
    const matches = routes.flatMap((route) => {
      const pattern = new RegExp(`^${route.path.replaceAll(/:(\w+)/g, '(?<$1>[^/]+)')}$`);
      const found = pattern.exec(url.pathname);
      return found !== null && (route.operation.kind === 'query') === (method === 'GET')
        ? [{ operation: route.operation, parameters: found.groups ?? {} }]
        : [];
    });
    expect(matches.map((match) => match.operation.id)).toEqual([operation]);
    const given: unknown = body === undefined ? Object.fromEntries(url.searchParams) : JSON.parse(body);
    const input: z.ZodType = matches[0]!.operation.input;
    expect(input.safeParse({ ...(given as object), ...matches[0]!.parameters }).error).toBeUndefined();
  }
});

test('the largest real basket is ordered again', () => {
  const baskets = requests
    .filter(({ operation }) => operation === 'orders.place')
    .map(({ body }) => (JSON.parse(body!) as { lines: unknown[] }).lines.length);
  expect(Math.max(...baskets)).toBe(592);
  expect(Math.min(...baskets)).toBe(1);
});

test('a session lasts about two seconds and its requests are in the order of time', () => {
  const lengths = sessions(464, 2).map((session) => {
    const offsets = session.map(({ afterMs }) => afterMs);
    expect(offsets[0]).toBe(0);
    expect(offsets).toEqual(offsets.toSorted((left, right) => left - right));
    return offsets.at(-1)!;
  });
  const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
  expect(mean).toBeGreaterThan(1_500);
  expect(mean).toBeLessThan(2_500);
});

test('the same seed gives the same sessions, another seed others', () => {
  expect(sessions(50, 7)).toEqual(sessions(50, 7));
  expect(sessions(50, 7)).not.toEqual(sessions(50, 8));
});

test('the gaps are those of the week: mean 1, none negative, and bursts are left in', () => {
  const gaps = scenario.gaps!;
  expect(gaps.length).toBe(464 - 4);
  expect(gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length).toBeCloseTo(1, 9);
  expect(Math.min(...gaps)).toBeGreaterThan(0);
  expect(Math.max(...gaps)).toBeGreaterThan(4);
});

test('arrivals of one minute are spread over it, and nights are no gaps', () => {
  const gaps = gapsBetween([
    '2010-12-01T09:00:00Z',
    '2010-12-01T09:00:00Z',
    '2010-12-01T09:01:00Z',
    '2010-12-02T09:00:00Z',
  ]);
  // 9:00:15, 9:00:45, 9:01:30
  expect(gaps).toEqual([30 / 37.5, 45 / 37.5]);
});
