import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratch } from '../test/scratch.ts';
import { acquireLock, isHeld, readLock } from './lock.ts';
import { identify } from './process-table.ts';
import { parseState } from './state.ts';

test('a lock is held by one, and free again after its release', async (ctx) => {
  const directory = scratch(ctx);
  const lock = await acquireLock(directory);
  expect(isHeld(readLock(directory))).toBe(true);
  await expect(acquireLock(directory)).rejects.toMatchObject({ code: 'PL_EMBEDDED_IN_USE' });
  lock.addGuardian({ pid: process.pid, startedAt: 'x' });
  lock.confirm();
  lock.release();
  expect(readdirSync(directory)).toEqual([]);
  (await acquireLock(directory)).release();
});

test('a torn lock, a dead holder, and a recycled process id are taken over', async (ctx) => {
  const directory = scratch(ctx);
  const mine = identify(process.pid);
  for (const content of [
    '',
    '{"token":"x"}',
    JSON.stringify({ token: 'x', holder: { pid: 999_999_999, startedAt: 'x' } }),
    JSON.stringify({ token: 'x', holder: { pid: mine?.pid, startedAt: 'before the reboot' } }),
  ]) {
    writeFileSync(join(directory, 'lock'), content);
    expect(isHeld(readLock(directory))).toBe(false);
    const lock = await acquireLock(directory);
    lock.confirm();
    lock.release();
    expect(readdirSync(directory)).toEqual([]);
  }
});

test('a lock that was lost is noticed, and not released for its new holder', async (ctx) => {
  const directory = scratch(ctx);
  const lock = await acquireLock(directory);
  const other = JSON.stringify({
    token: 'other',
    holder: identify(process.pid),
    since: 'now',
    program: 'other',
  });
  writeFileSync(join(directory, 'lock'), other);
  expect(() => lock.confirm()).toThrow(/is in use by/);
  lock.release();
  expect(readLock(directory)).toMatchObject({ token: 'other' });
});

test('a state file that cannot be read counts as none', () => {
  expect(parseState('{"ports":{"primary":5432,"replica-1":"x"}}')).toEqual({ ports: { primary: 5432 } });
  for (const text of ['', 'null', '{}', '{"ports":null}']) expect(parseState(text)).toBeUndefined();
});
