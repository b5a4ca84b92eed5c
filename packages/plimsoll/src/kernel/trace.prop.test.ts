import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { correlationIdOf, parseTraceparent, rootSpan, spanIdOf, taskSpan, traceIdOf } from './trace.ts';

const hex = (length: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...'0123456789abcdef'.split('')), minLength: length, maxLength: length });
const traceId = hex(32).filter((id) => !/^0+$/.test(id));
const spanId = hex(16).filter((id) => !/^0+$/.test(id));

test('a traceparent is read as it was written', () => {
  fc.assert(
    fc.property(traceId, spanId, hex(2), (trace, span, flags) => {
      expect(parseTraceparent(`00-${trace}-${span}-${flags}`)).toEqual({
        traceId: trace,
        spanId: span,
        sampled: (Number.parseInt(flags, 16) & 1) === 1,
      });
      // A later version may say more, after a dash.
      expect(parseTraceparent(`cc-${trace}-${span}-${flags}-more`)?.traceId).toBe(trace);
    }),
  );
});

const trace = 'a'.repeat(32);
const span = 'b'.repeat(16);
test.each([
  ['', 'nothing'],
  [`ff-${trace}-${span}-01`, 'version ff'],
  [`00-${'0'.repeat(32)}-${span}-01`, 'no trace'],
  [`00-${trace}-${'0'.repeat(16)}-01`, 'no span'],
  [`00-${trace.toUpperCase()}-${span}-01`, 'upper case'],
  [`00-${trace}-${span}-01-more`, 'version 00 with more'],
  [`cc-${trace}-${span}-01more`, 'more without a dash'],
  [`00-${trace}-${span}-1`, 'short flags'],
  [`00-${trace}-${span}-01\n`, 'a line break'],
])('a traceparent that must be ignored: %j, %s', (text) => {
  expect(parseTraceparent(text)).toBeUndefined();
});

test('a trace has an id that W3C allows, the same in every process, whatever the correlation id', () => {
  fc.assert(
    fc.property(fc.oneof(fc.uuid(), fc.string({ minLength: 1 })), (correlationId) => {
      const id = traceIdOf(rootSpan(correlationId).root);
      expect(id).toMatch(/^(?!0{32})[0-9a-f]{32}$/);
      expect(traceIdOf(rootSpan(correlationId).root)).toBe(id);
    }),
  );
});

test('the trace id of a UUID is its digits, so a log line leads to its trace without a look-up', () => {
  fc.assert(
    fc.property(traceId, spanId, (id, of) => {
      const correlationId = correlationIdOf({ traceId: id, spanId: of, sampled: true });
      expect(correlationId).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      expect(traceIdOf(rootSpan(correlationId).root)).toBe(id);
      // The trace of the caller outside wins over any correlation id.
      expect(traceIdOf(rootSpan('mine', `00-${id}-${of}-01`).root)).toBe(id);
    }),
  );
});

test('an attempt of a task has one span for all who ask, another attempt another', () => {
  const claim = (): Parameters<typeof taskSpan>[0] => ({ correlationId: 'c', caller: {} });
  const claimed = claim();
  expect(spanIdOf(taskSpan(claimed))).toBe(spanIdOf(taskSpan(claimed)));
  expect(spanIdOf(taskSpan(claim()))).not.toBe(spanIdOf(taskSpan(claimed)));
});

test('where an id of ours lies is known before the id is made, and is the same where only the id is known', () => {
  for (let made = 0; made < 500; made += 1) {
    const { root } = rootSpan();
    const early = made % 2 === 0 ? root.share : undefined;
    const { correlationId } = root;
    expect(correlationId).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(root.share).toBe(early ?? root.share);
    expect(root.share).toBe(rootSpan(correlationId).root.share);
    expect(traceIdOf(root)).toBe(correlationId.replaceAll('-', ''));
  }
});
