import { describe, expect, test } from 'vitest';
import { History, type HistoryRow } from './history.ts';

let seq = 0;
const row = (given: Partial<HistoryRow> & Pick<HistoryRow, 'kind'>): HistoryRow => ({
  seq: (seq += 1),
  place: '',
  op: 'step',
  name: null,
  operation: null,
  input: null,
  output: null,
  compensation: null,
  error: null,
  waitsMs: null,
  who: null,
  why: null,
  atMs: 0,
  ...given,
});
const began = (place: string, name = 'pay'): HistoryRow =>
  row({ kind: 'began', place, name, operation: 'bank.charge' });
const pay = { op: 'step', name: 'pay', operation: 'bank.charge' } as const;
const of = (...rows: readonly HistoryRow[]): History =>
  new History('saga orders.checkout/1 (version 1)', rows);

describe('the code must ask for what is recorded', () => {
  test.each([
    ['another name', { ...pay, name: 'charge' }],
    ['another command', { ...pay, operation: 'bank.refund' }],
    ['another kind of wait', { op: 'sleep', name: 'pay' } as const],
  ])('%s is refused, with saga, version, place and both', (_what, asked) => {
    expect(() => of(began('1')).visit('1', asked)).toThrowError(
      expect.objectContaining({
        code: 'PL_SAGA_DIVERGED',
        message: expect.stringMatching(
          /^saga orders\.checkout\/1 \(version 1\): at place 1 the history has step "pay" \(bank\.charge\), and the code asks for /,
        ),
      }),
    );
  });

  test('something new is refused where something after it is recorded, in a branch too', () => {
    expect(() => of(began('2')).visit('1', pay)).toThrow('nothing, but something at 2 after it');
    expect(() => of(began('2.stock.2')).visit('2.stock.1', pay)).toThrow('something at 2 after it');
    expect(() => of(began('2.stock.2')).visit('1', pay)).toThrow('something at 2 after it');
    expect(() => of(began('2.stock.2')).visit('2.card.1', pay)).not.toThrow();
    expect(() => of(began('2.stock.2')).visit('3', pay)).not.toThrow();
  });

  test('branches and a step are told apart', () => {
    expect(() => of(began('1.stock.1')).visit('1', pay)).toThrow('the history has branches');
    expect(() => of(began('1')).fork('1')).toThrow('the code asks for branches');
    expect(() => of(began('2')).fork('1')).toThrow('something at 2 after it');
    expect(() => of(began('1.stock.1')).fork('1')).not.toThrow();
  });

  test('what is recorded and not asked for any more is refused', () => {
    const history = of(began('1'), began('2'));
    history.visit('1', pay);
    expect(() => history.assertAllVisited()).toThrow(
      'at place 2 the history has step "pay" (bank.charge), and the code asks for nothing',
    );
    history.visit('2', pay);
    expect(() => history.assertAllVisited()).not.toThrow();
  });
});

test('tries count from the last decision by hand', () => {
  const threw = row({ kind: 'threw', place: '1' });
  expect(of(began('1'), threw, threw).visit('1', pay).tries).toBe(2);
  const retried = row({ kind: 'asked', operation: 'retry' });
  expect(of(began('1'), threw, threw, retried, threw).visit('1', pay).tries).toBe(1);
  const approved = row({ kind: 'asked', operation: 'approve' });
  expect(of(began('1'), threw, approved, threw).visit('1', pay).tries).toBe(2);
});

test('what is left to undo comes newest first, children with their beginning, what is undone no more', () => {
  const compensation = { operation: 'bank.refund', input: {} };
  const done = (place: string): HistoryRow => row({ kind: 'done', place, compensation });
  const history = of(
    began('1', 'a'),
    began('2', 'b'),
    done('2'),
    done('1'),
    row({ kind: 'began', place: '3', op: 'child', name: 'c', operation: 'orders.inner' }),
    began('4', 'd'),
    row({ kind: 'done', place: '4' }),
    began('5', 'e'),
    done('5'),
    row({ kind: 'undone', place: '5' }),
  );
  expect(history.undoable().map(({ name }) => name)).toEqual(['c', 'a', 'b']);
});
