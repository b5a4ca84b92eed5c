import type { IncomingMessage } from 'node:http';
import { describe, expect, test } from 'vitest';
import { refusals, type RefusalMessage } from '../kernel/channels.ts';
import { handClock } from '../limit/fixtures/hand-clock.ts';
import { seeded } from '../limit/fixtures/simulation.ts';
import type { ShedOptions } from './options.ts';
import { createShedder, type Admission, type Shedder } from './shedder.ts';

/** As much of a request as is looked at before it is served. */
function request(url = '/', headers: Record<string, string> = {}): IncomingMessage {
  return { url, method: 'GET', headers } as unknown as IncomingMessage;
}

function shedderOf(options: Partial<ShedOptions> = {}): {
  shedder: Shedder;
  clock: ReturnType<typeof handClock>;
  under: (pressure: number) => void;
} {
  const clock = handClock();
  let pressure = 0;
  const loop = { pressure: () => pressure };
  const shedder = createShedder({ name: 'edge', clock, loop, random: seeded(1), ...options });
  return {
    shedder,
    clock,
    under(value) {
      pressure = value;
    },
  };
}

/** Admissions until the first refusal. */
function fill(shedder: Shedder, asked = request()): Admission[] {
  const admissions: Admission[] = [];
  for (let one = shedder.admit(asked); one.admitted; one = shedder.admit(asked)) admissions.push(one);
  return admissions;
}

/** Share of a thousand requests that is refused. */
function refusedShare(shedder: Shedder, asked = request()): number {
  let refused = 0;
  for (let at = 0; at < 1_000; at += 1) {
    const decision = shedder.admit(asked);
    if (decision.admitted) decision.ignore();
    else refused += 1;
  }
  return refused / 1_000;
}

const priority = (asked: IncomingMessage): 'internal' | 'interactive' | 'batch' =>
  asked.headers['x-priority'] as 'internal' | 'interactive' | 'batch';
const of = (rank: string): IncomingMessage => request('/', { 'x-priority': rank });

describe('the limit of a class', () => {
  test('refuses what is beyond it, and admits again when one has ended', () => {
    const { shedder } = shedderOf();
    const admissions = fill(shedder);
    expect(admissions).toHaveLength(20);
    expect(shedder.admit(request())).toMatchObject({ admitted: false, reason: 'limit' });
    admissions[0]?.succeed();
    expect(shedder.admit(request()).admitted).toBe(true);
  });

  test('is one for each class', () => {
    const { shedder } = shedderOf({
      routeClass: ({ url = '' }) => (url.startsWith('/search') ? 'search' : 'rest'),
    });
    fill(shedder, request('/search?q=1'));
    expect(shedder.admit(request('/orders')).admitted).toBe(true);
    expect(shedder.state().classes.map(({ name, inFlight }) => [name, inFlight])).toEqual([
      ['(other)', 0],
      ['search', 20],
      ['rest', 1],
    ]);
  });

  test('is shared by all classes beyond the most there may be', () => {
    const { shedder } = shedderOf({ routeClass: ({ url = '' }) => url });
    for (let at = 0; at < 10_000; at += 1) shedder.admit(request(`/path-${at}`));
    expect(shedder.state().classes.length).toBe(64);
  });

  test('counts answers that timed out as drops, and quick errors not at all', () => {
    const dropped = shedderOf();
    const ignored = shedderOf();
    for (let round = 0; round < 10; round += 1) {
      const [some, others] = [fill(dropped.shedder), fill(ignored.shedder)];
      dropped.clock.advance(1_000);
      ignored.clock.advance(1_000);
      for (const one of some) one.drop();
      for (const one of others) one.ignore();
    }
    expect(dropped.shedder.state().classes[0]).toMatchObject({ limit: 4, reason: 'drops', inFlight: 0 });
    expect(ignored.shedder.state().classes[0]).toMatchObject({ limit: 20, reason: 'initial', inFlight: 0 });
  });
});

describe('priorities', () => {
  test('batch leaves room for interactive, and interactive for internal', () => {
    const { shedder } = shedderOf({ priority, limit: { initialLimit: 20 } });
    expect(fill(shedder, of('batch'))).toHaveLength(14);
    expect(fill(shedder, of('interactive'))).toHaveLength(6);
    expect(shedder.admit(of('batch')).admitted).toBe(false);
    expect(fill(shedder, of('internal'))).toHaveLength(6);
  });

  test('a loop that is behind refuses batch first and internal last', () => {
    const { shedder, under } = shedderOf({ priority });
    under(0.5);
    expect(refusedShare(shedder, of('batch'))).toBe(1);
    expect(refusedShare(shedder, of('interactive'))).toBeCloseTo(0.5, 1);
    expect(refusedShare(shedder, of('internal'))).toBe(0);
    under(0.75);
    expect(refusedShare(shedder, of('interactive'))).toBeCloseTo(0.75, 1);
    expect(refusedShare(shedder, of('internal'))).toBeCloseTo(0.5, 1);
    under(1);
    expect(refusedShare(shedder, of('internal'))).toBe(1);
  });
});

describe('what watches the process', () => {
  test.each(['/healthz', '/readyz', '/health', '/livez', '/metrics?name=a', '/-/telemetry', '/-/metrics'])(
    '%s is neither refused nor counted',
    (url) => {
      const { shedder, under } = shedderOf();
      fill(shedder);
      under(1);
      const { admitted, refused } = shedder.state();
      expect(shedder.admit(request(url)).admitted).toBe(true);
      expect(shedder.state()).toMatchObject({ admitted, refused });
    },
  );

  test.each(['/', '/orders', '/-/jobs/1', '/healthzy', '/api/healthz'])(
    '%s is refused like others',
    (url) => {
      const { shedder, under } = shedderOf();
      under(1);
      expect(shedder.admit(request(url))).toMatchObject({ admitted: false, reason: 'event loop' });
    },
  );

  test('another choice can be given', () => {
    const { shedder, under } = shedderOf({ bypass: ({ url = '' }) => url === '/admin' });
    under(1);
    expect(shedder.admit(request('/admin')).admitted).toBe(true);
    expect(shedder.admit(request('/healthz')).admitted).toBe(false);
  });
});

describe('clients', () => {
  const client = ({ headers }: IncomingMessage): string | undefined =>
    headers['x-client'] as string | undefined;
  const from = (name: string): IncomingMessage => request('/', { 'x-client': name });

  test('one that takes all it gets leaves room for one that comes later', () => {
    const { shedder } = shedderOf({ client });
    expect(fill(shedder, from('greedy'))).toHaveLength(16);
    expect(shedder.admit(from('greedy'))).toMatchObject({ admitted: false, reason: 'client share' });
    expect(shedder.admit(from('modest')).admitted).toBe(true);
  });

  test('two greedy ones get the same, and still leave room', () => {
    const { shedder } = shedderOf({ client, limit: { initialLimit: 90 } });
    const held = { a: 0, b: 0 };
    for (let round = 0; round < 100; round += 1)
      for (const name of ['a', 'b'] as const) if (shedder.admit(from(name)).admitted) held[name] += 1;
    expect(Math.abs(held.a - held.b)).toBeLessThanOrEqual(1);
    expect(shedder.admit(from('c')).admitted).toBe(true);
  });

  test('what has ended no longer counts', () => {
    const { shedder } = shedderOf({ client });
    for (let round = 0; round < 50; round += 1) for (const one of fill(shedder, from('greedy'))) one.ignore();
    expect(fill(shedder, from('greedy'))).toHaveLength(16);
  });

  test('under a busy loop, who sent most is refused most', () => {
    const { shedder, under } = shedderOf({ client });
    const seen = { greedy: { asked: 0, refused: 0 }, modest: { asked: 0, refused: 0 } };
    under(0.1);
    for (let at = 0; at < 5_000; at += 1) {
      const name = at % 10 === 0 ? 'modest' : 'greedy';
      const decision = shedder.admit(from(name));
      seen[name].asked += 1;
      if (decision.admitted) decision.ignore();
      else seen[name].refused += 1;
    }
    const shareOf = (name: 'greedy' | 'modest'): number => seen[name].refused / seen[name].asked;
    expect(shareOf('greedy')).toBeGreaterThan(0.6);
    expect(shareOf('modest')).toBeLessThan(0.5);
  });

  test('without a name all share what there is', () => {
    const { shedder } = shedderOf({ client });
    expect(fill(shedder)).toHaveLength(20);
  });
});

describe('the target of a class', () => {
  test('gives what may take long more places at first, within the bounds that are set', () => {
    const targetMs = (name: string): number => (name === '/slow' ? 500 : 25);
    const limitsOf = (limit: ShedOptions['limit']): readonly number[] => {
      const { shedder } = shedderOf({
        routeClass: ({ url = '' }) => url,
        targetMs,
        ...(limit === undefined ? {} : { limit }),
      });
      for (const url of ['/slow', '/quick']) shedder.admit(request(url));
      return shedder.state().classes.flatMap(({ name, limit: now }) => (name.startsWith('/') ? [now] : []));
    };
    expect(limitsOf(undefined)).toEqual([100, 20]);
    expect(limitsOf({ maxLimit: 30 })).toEqual([30, 20]);
    expect(limitsOf({ minLimit: 1, maxLimit: 1, initialLimit: 1 })).toEqual([1, 1]);
  });
});

describe('a refusal', () => {
  test('says when to come again: from 1 s to 3 s, not the same for all, later when more are refused', () => {
    const { shedder, under, clock } = shedderOf();
    const means: number[] = [];
    for (const pressure of [0.05, 0.5, 0.95]) {
      clock.advance(10_000);
      under(pressure);
      const seconds: number[] = [];
      for (let at = 0; at < 5_000; at += 1) {
        const decision = shedder.admit(request());
        if (decision.admitted) decision.ignore();
        else seconds.push(decision.retryAfterSeconds);
      }
      expect(new Set(seconds).size).toBeGreaterThan(1);
      expect(Math.min(...seconds)).toBeGreaterThanOrEqual(1);
      expect(Math.max(...seconds)).toBeLessThanOrEqual(3);
      means.push(seconds.reduce((total, one) => total + one, 0) / seconds.length);
    }
    expect(means).toEqual(means.toSorted((a, b) => a - b));
    under(1);
    clock.advance(10_000);
    const together = Array.from({ length: 50 }, () => shedder.admit(request()));
    const seconds = together.map((decision) => (decision.admitted ? 0 : decision.retryAfterSeconds));
    expect(new Set(seconds)).toEqual(new Set([2, 3]));
  });

  test('is made once and not for each request', () => {
    const { shedder, under } = shedderOf();
    under(1);
    const seen = new Set(Array.from({ length: 1_000 }, () => shedder.admit(request())));
    expect(seen.size).toBeLessThanOrEqual(3);
  });

  test('is published in its scope, and counted', () => {
    const scope = {};
    const { shedder, under } = shedderOf({ scope });
    const seen: RefusalMessage[] = [];
    const stop = refusals.subscribe((message) => seen.push(message));
    under(1);
    shedder.admit(request());
    under(0);
    shedder.admit(request());
    stop();
    expect(seen).toEqual([{ scope, policy: 'shed', name: 'edge', reason: 'event loop' }]);
    expect(shedder.state()).toMatchObject({
      name: 'edge',
      admitted: 1,
      refused: 1,
      rejectionRate: 0.5,
      reason: 'event loop',
      loopPressure: 0,
    });
  });
});

test('all that is wrong with the options is told at once', () => {
  expect(() => createShedder({ name: '', loopDelayMs: 0, maxRetryAfterSeconds: 1 })).toThrow(
    /3 problems:\n {2}name: .+\n {2}loopDelayMs: .+\n {2}maxRetryAfterSeconds: /,
  );
  expect(() => createShedder({ name: 'edge', limit: { minLimit: 0 } })).toThrow(/minLimit: is 0/);
});
