import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { RecordedEvent } from './events.ts';
import { contract, event } from '../modules/contract.ts';
import { payloadNow } from './event-versions.ts';

const payload = z.object({ sku: z.string(), left: z.number() });
const stock = contract('stock', {
  low: event({
    payload,
    version: 3,
    upcast: {
      1: (old) => ({ ...(old as { item: string }), count: '7' }),
      2: (old) => {
        const { item, count } = old as { item: string; count: string };
        return { sku: item, left: Number(count) };
      },
    },
  }),
  gone: event({ payload, version: 2 }),
  broken: event({
    payload,
    version: 2,
    upcast: {
      1: () => {
        throw new TypeError('no item');
      },
    },
  }),
});
const recorded = (version: number, of: unknown): RecordedEvent => ({
  id: '9',
  position: 1,
  type: 'stock.low',
  version,
  key: null,
  payload: of,
});

describe('payload of an event', () => {
  test('an older one goes through every step up to now, one of this version through none', () => {
    expect(payloadNow(stock.low, recorded(1, { item: 'a' }))).toEqual({ sku: 'a', left: 7 });
    expect(payloadNow(stock.low, recorded(2, { item: 'b', count: '2' }))).toEqual({ sku: 'b', left: 2 });
    const now = { sku: 'c', left: 1 };
    expect(payloadNow(stock.low, recorded(3, now))).toBe(now);
  });

  test('a newer one is refused so that it can be tried again, naming both versions', () => {
    expect(() => payloadNow(stock.low, recorded(4, {}))).toThrow(
      expect.objectContaining({
        code: 'PL_EVENT_VERSION',
        retryable: true,
        data: { event: 'stock.low', version: 4, known: 3 },
      }),
    );
  });

  test('an older one without a step is not accepted', () => {
    expect(() => payloadNow(stock.gone, recorded(1, {}))).toThrow(/no upcast from version 1/);
  });

  test('a step that throws is told with its version and cause', () => {
    expect(() => payloadNow(stock.broken, recorded(1, {}))).toThrow(
      expect.objectContaining({
        code: 'PL_PAYLOAD_INVALID',
        cause: expect.objectContaining({ message: 'no item' }) as unknown,
      }),
    );
  });
});

describe('a contract', () => {
  const problems = (version: number, upcast: Record<number, (old: unknown) => never>): string[] => {
    try {
      contract('stock', { low: event<typeof payload, number>({ payload, version, upcast }) });
    } catch (error) {
      return (error as { data: { problems: { path: string }[] } }).data.problems.map(({ path }) => path);
    }
    return [];
  };
  const step = (): never => ({}) as never;

  test('may begin at a later version, and needs every step from there', () => {
    expect(problems(3, { 2: step })).toEqual([]);
    expect(problems(4, { 1: step, 3: step })).toEqual(['low.upcast.2']);
    expect(problems(4, { 1: step })).toEqual(['low.upcast.2', 'low.upcast.3']);
  });

  test('has no step from its own version or a later one, nor from none', () => {
    expect(problems(2, { 1: step, 2: step })).toEqual(['low.upcast.2']);
    expect(problems(1, { 1: step })).toEqual(['low.upcast.1']);
    expect(problems(2, { 0: step, 1: step })).toEqual(['low.upcast.0']);
  });

  test('counts versions from 1', () => {
    expect(problems(0, {})).toEqual(['low.version']);
    expect(problems(1.5, {})).toEqual(['low.version']);
  });
});
