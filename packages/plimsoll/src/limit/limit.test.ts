import { describe, expect, test, vi } from 'vitest';
import { refusals, type RefusalMessage } from '../kernel/channels.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { handClock } from './fixtures/hand-clock.ts';
import { createLimit, type Limit, type Permit } from './limit.ts';
import type { LimitOptions } from './options.ts';

function limitOf(options: Partial<LimitOptions> = {}): { limit: Limit; clock: ReturnType<typeof handClock> } {
  const clock = handClock();
  return { clock, limit: createLimit({ name: 'bank', clock, random: () => 0.5, ...options }) };
}

/** As many permits as there are. */
function fill(limit: Limit): Permit[] {
  const permits: Permit[] = [];
  for (let permit = limit.tryAcquire(); permit !== undefined; permit = limit.tryAcquire())
    permits.push(permit);
  return permits;
}

/** `rounds` times the whole limit is used, and each call takes `rttMs`. */
function use(
  limit: Limit,
  clock: ReturnType<typeof handClock>,
  rounds: number,
  rttMs: number,
  end: (permit: Permit) => void,
): void {
  for (let round = 0; round < rounds; round += 1) {
    const permits = fill(limit);
    clock.advance(rttMs);
    permits.forEach(end);
  }
}

const succeed = (permit: Permit): void => permit.succeed();

describe('permits', () => {
  test('the initial limit is 20, or what was given', () => {
    expect(limitOf().limit.limit).toBe(20);
    expect(limitOf({ initialLimit: 5 }).limit.limit).toBe(5);
    expect(limitOf().limit.state()).toMatchObject({
      inFlight: 0,
      recentRttMs: undefined,
      baselineRttMs: undefined,
      reason: 'initial',
    });
  });

  test('a call beyond the limit is refused, and admitted once another has ended', () => {
    const { limit } = limitOf({ initialLimit: 4 });
    const permits = fill(limit);
    expect(permits).toHaveLength(4);
    expect(limit.inFlight).toBe(4);
    permits[0]?.succeed();
    expect(limit.inFlight).toBe(3);
    expect(limit.tryAcquire()).toBeDefined();
    expect(limit.tryAcquire()).toBeUndefined();
    expect(limit.state()).toMatchObject({ admitted: 5, refused: 2 });
  });

  test('a share of the limit leaves the rest to others', () => {
    const { limit } = limitOf({ initialLimit: 10 });
    while (limit.tryAcquire(0.7) !== undefined);
    expect(limit.inFlight).toBe(7);
    expect(limit.tryAcquire()).toBeDefined();
  });

  test('a permit that is given back twice counts once', () => {
    const { limit } = limitOf();
    const permit = limit.tryAcquire();
    permit?.drop();
    permit?.succeed();
    permit?.ignore();
    permit?.abandon();
    expect(limit.inFlight).toBe(0);
  });
});

describe('the limit', () => {
  test('grows while round trips stay as they are and the limit is used', () => {
    const { limit, clock } = limitOf({ windowCalls: 1 });
    for (let round = 0; round < 20; round += 1) {
      const permits = Array.from({ length: 15 }, () => limit.tryAcquire());
      clock.advance(100);
      permits.forEach((permit) => permit?.succeed());
    }
    expect(limit.limit).toBeGreaterThan(20);
    expect(limit.state().reason).toBe('room');
    expect(limit.state().recentRttMs).toBeCloseTo(100, -2);
    expect(limit.state().baselineRttMs).toBeCloseTo(100, -2);
  });

  test('does not grow while less than half of it is used', () => {
    const { limit, clock } = limitOf();
    for (let round = 0; round < 100; round += 1) {
      const permits = Array.from({ length: 9 }, () => limit.tryAcquire());
      clock.advance(100);
      permits.forEach((permit) => permit?.succeed());
    }
    expect(limit.limit).toBe(20);
  });

  test('is halved with each window in which half of the calls are dropped, and never falls below the least', () => {
    const { limit, clock } = limitOf({ initialLimit: 40 });
    use(limit, clock, 1, 1_000, (permit) => permit.drop());
    expect(limit.state()).toMatchObject({ limit: 20, reason: 'drops' });
    use(limit, clock, 20, 1_000, (permit) => permit.drop());
    expect(limit.limit).toBe(4);
  });

  test('is not moved by quick errors and refusals', () => {
    const { limit, clock } = limitOf();
    use(limit, clock, 5, 100, succeed);
    const before = limit.state();
    use(limit, clock, 200, 1, (permit) => permit.ignore());
    expect(limit.state()).toMatchObject({
      limit: before.limit,
      recentRttMs: before.recentRttMs,
      baselineRttMs: before.baselineRttMs,
    });
  });

  test('is not moved by callers that leave early, but by callers that gave up after the usual time', () => {
    const { limit, clock } = limitOf();
    use(limit, clock, 5, 100, succeed);
    const before = limit.limit;
    use(limit, clock, 50, 20, (permit) => permit.abandon());
    expect(limit.limit).toBe(before);
    use(limit, clock, 50, 1_000, (permit) => permit.abandon());
    expect(limit.state()).toMatchObject({ limit: 4, reason: 'drops' });
  });

  test('what is ignored takes no part in the round trips of the others', () => {
    const { limit, clock } = limitOf();
    for (let round = 0; round < 50; round += 1) {
      const permits = Array.from({ length: 9 }, () => limit.tryAcquire());
      clock.advance(100);
      permits.forEach((permit, at) => (at % 3 === 0 ? permit?.succeed() : permit?.ignore()));
    }
    // Windows end with an answer, so a few of those that were ignored are still under way then; all would make it 300.
    expect(limit.state().recentRttMs).toBeLessThan(200);
  });

  test('goes back to where it was when the other side became faster during a trial', () => {
    const { limit, clock } = limitOf();
    const round = (rttMs: number): void => {
      const permits = fill(limit);
      // Enough are refused for the limit to be what holds them back.
      for (let at = 0; at < 10; at += 1) limit.tryAcquire();
      clock.advance(rttMs);
      permits.forEach(succeed);
    };
    let before = limit.limit;
    while (limit.state().reason !== 'trial') {
      before = limit.limit;
      round(500);
    }
    expect(limit.limit).toBeLessThan(before);
    while (limit.limit < before) round(50);
    expect(limit.state().reason).toBe('trial');
  });

  test('what was measured is forgotten after ten seconds without a call', () => {
    const { limit, clock } = limitOf();
    use(limit, clock, 5, 100, succeed);
    expect(limit.state().recentRttMs).toBeDefined();
    const before = limit.limit;
    clock.advance(10_001);
    limit.tryAcquire();
    expect(limit.state()).toMatchObject({ limit: before, recentRttMs: undefined, baselineRttMs: undefined });
  });

  test('falls back towards what is used', () => {
    const { limit, clock } = limitOf({ windowCalls: 1, maxLimit: 500 });
    for (let round = 0; round < 60; round += 1) {
      const permits = Array.from({ length: Math.ceil(limit.limit * 0.8) }, () => limit.tryAcquire());
      clock.advance(100);
      permits.forEach((permit) => permit?.succeed());
    }
    const grown = limit.limit;
    expect(grown).toBeGreaterThan(100);
    for (let round = 0; round < 2_000; round += 1) {
      const permit = limit.tryAcquire();
      clock.advance(100);
      permit?.succeed();
    }
    expect(limit.limit).toBe(20);
  });
});

describe('run', () => {
  test('settles as the work does, and gives the permit back', async () => {
    const { limit } = limitOf();
    await expect(limit.run(async () => 'done')).resolves.toBe('done');
    await expect(limit.run(async () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    const thrown = limit.run(() => {
      throw new Error('thrown at once');
    });
    await expect(thrown).rejects.toThrow('thrown at once');
    expect(limit.inFlight).toBe(0);
  });

  test('refuses with PL_OVERLOADED, which says the limit and when to come again', async () => {
    const { limit } = limitOf({ initialLimit: 4 });
    fill(limit);
    const work = vi.fn(async () => 'never');
    const refusal = await limit.run(work).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(PlimsollError);
    expect(refusal).toMatchObject({
      code: 'PL_OVERLOADED',
      retryable: true,
      data: { name: 'bank', limit: 4, inFlight: 4, retryAfterMs: 100 },
    });
    expect(String(refusal)).toContain('bank: 4 calls are under way, and the limit is 4');
    expect(work).not.toHaveBeenCalled();
  });

  test('publishes refusals in its scope', async () => {
    const scope = {};
    const { limit } = limitOf({ initialLimit: 4, scope });
    fill(limit);
    const seen: RefusalMessage[] = [];
    const stop = refusals.subscribe((message) => seen.push(message));
    await limit.run(async () => 1).catch(() => undefined);
    stop();
    expect(seen).toEqual([{ scope, policy: 'limit', name: 'bank', reason: '4 of 4 under way' }]);
  });

  const drops: readonly (readonly [string, unknown])[] = [
    ['a timeout of ours', new PlimsollError('PL_TIMEOUT', 'took too long')],
    ['a deadline', new PlimsollError('PL_DEADLINE', 'too late')],
    ['no connection in time', new PlimsollError('PL_POOL_TIMEOUT', 'none free')],
    ['AbortSignal.timeout', new DOMException('The operation timed out', 'TimeoutError')],
    [
      'a timeout of undici',
      Object.assign(new Error('Headers Timeout Error'), { code: 'UND_ERR_HEADERS_TIMEOUT' }),
    ],
    ['a 503', Object.assign(new Error('Service Unavailable'), { statusCode: 503 })],
  ];
  test.each(drops)('%s is a drop', async (_what, error) => {
    expect(await limitAfter(error)).toBe(4);
  });

  const ignored: readonly (readonly [string, unknown])[] = [
    ['a refusal of a guard inside', new PlimsollError('PL_BREAKER_OPEN', 'open')],
    ['a 404', Object.assign(new Error('Not Found'), { statusCode: 404 })],
    ['a 500', Object.assign(new Error('Internal Server Error'), { statusCode: 500 })],
    ['a plain error', new Error('broken')],
  ];
  test.each(ignored)('%s is not', async (_what, error) => {
    expect(await limitAfter(error)).toBe(20);
  });

  test('what is a drop can be said otherwise', async () => {
    const quota = new Error('quota');
    expect(await limitAfter(quota, { isDrop: (error) => error === quota })).toBe(4);
  });

  async function limitAfter(error: unknown, options: Partial<LimitOptions> = {}): Promise<number> {
    const { limit, clock } = limitOf(options);
    for (let call = 0; call < 200; call += 1) {
      const running = limit.run(() => Promise.resolve().then(() => Promise.reject(error as Error)));
      clock.advance(100);
      await running.catch(() => undefined);
    }
    return limit.limit;
  }
});

test('all that is wrong with the options is told at once', () => {
  const wrong = { name: '', minLimit: 0, maxLimit: 10, initialLimit: 50, windowMs: -1 };
  const error = (() => {
    try {
      return createLimit(wrong);
    } catch (thrown) {
      return thrown as PlimsollError;
    }
  })();
  expect(error).toMatchObject({ code: 'PL_CONFIG' });
  const { problems } = (error as PlimsollError).data as { problems: { path: string }[] };
  expect(problems.map(({ path }) => path)).toEqual(['name', 'minLimit', 'windowMs', 'initialLimit']);
});
