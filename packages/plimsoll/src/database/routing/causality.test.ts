import { expect, test } from 'vitest';
import { Seen } from '../../kernel/seen.ts';
import { Causality } from './causality.ts';
import { epochOf } from './epoch.ts';

const row = (timeline: number, position: string, hasTable = false): unknown[] => {
  const walFile = `${timeline.toString(16).padStart(8, '0')}0000000000000001`;
  return [`${walFile} ${position} ${position}`, '16777216', '77', hasTable];
};

/** Of a primary without the table of the epoch. */
async function primaryAt(timeline: number): Promise<Causality> {
  const causality = new Causality('db', () => 0);
  await causality.learn(() => Promise.resolve(row(timeline, '0/1000100')));
  return causality;
}

test('a statement that ended after the position was asked for is not covered by it', async () => {
  const causality = await primaryAt(1);
  const seen = new Seen();
  const { turn } = causality;
  causality.markDue(seen);
  // The commit of a transaction that ran beside it, whose position is from before.
  causality.noteWritten(seen, 100n, turn);
  expect(seen.isUnknown('db')).toBe(true);
  expect(causality.owes(seen)).toBe(true);
  causality.noteWritten(seen, 200n, causality.turn);
  expect(seen.isUnknown('db')).toBe(false);
  expect(causality.owes(seen)).toBe(false);
});

test('settling asks again when another statement ended meanwhile', async () => {
  const causality = await primaryAt(1);
  const seen = new Seen();
  causality.markDue(seen);
  let asked = 0;
  await causality.settle(seen, () => {
    asked += 1;
    const { turn } = causality;
    if (asked === 1) causality.markDue(seen);
    const position = { timeline: 1, flushed: 100n, inserted: 100n + BigInt(asked) };
    return Promise.resolve({ position, turn });
  });
  expect(asked).toBe(2);
  expect(seen.isUnknown('db')).toBe(false);
  expect(seen.mark('db')?.written).toBe(102n);
});

test('an unknown outcome is not resolved by a position: the commit may still be under way', async () => {
  const causality = await primaryAt(1);
  const seen = new Seen();
  causality.markDue(seen);
  causality.noteUnknown(seen);
  causality.markDue(seen);
  expect(causality.owes(seen)).toBe(false);
  expect(seen.isUnknown('db')).toBe(true);
});

test('a primary on an earlier timeline is fenced, until the right one answers again', async () => {
  const causality = await primaryAt(3);
  const position = { timeline: 2, flushed: 1n, inserted: 1n };
  expect(causality.accepts(position)).toBe(false);
  expect(causality.fenced).toBe(true);
  expect(await causality.learn(() => Promise.resolve(row(2, '0/1000100')))).toBeUndefined();
  expect(causality.epoch?.timeline).toBe(3);
  expect(causality.accepts({ ...position, timeline: 3 })).toBe(true);
  expect(causality.fenced).toBe(false);
});

test('an epoch without its row comes before each that has one, and is looked for again', async () => {
  expect(epochOf('77', 1, undefined).text < epochOf('77', 1, 'id').text).toBe(true);
  let nowMs = 0;
  const causality = new Causality('db', () => nowMs);
  await causality.learn(() => Promise.resolve(row(1, '0/1000100')));
  expect(causality.knows(1)).toBe(true);
  nowMs = 31_000;
  expect(causality.knows(1)).toBe(false);
});

test('a server without log positions is left alone', async () => {
  const causality = new Causality('db', () => 0);
  const failure = Object.assign(new Error('function pg_control_system() does not exist'), { code: '42883' });
  expect(await causality.learn(() => Promise.reject(failure))).toBeUndefined();
  expect(causality.unsupported).toMatch(/42883/);
  await expect(causality.learn(() => Promise.reject(new Error('gone')))).rejects.toThrow('gone');
});
