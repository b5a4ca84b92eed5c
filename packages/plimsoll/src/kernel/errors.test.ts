import { readdirSync, readFileSync } from 'node:fs';
import { STATUS_CODES } from 'node:http';
import { expect, test } from 'vitest';
import { errorTable, isPlimsollError, PlimsollError, throwIfProblems, type ErrorCode } from './errors.ts';

const page = readFileSync(new URL('../../../../docs/errors.md', import.meta.url), 'utf8');

test('docs/errors.md lists exactly the codes of the table, with their facts and in their order', () => {
  const rows = page
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );
  expect(rows).toEqual(
    Object.entries(errorTable).map(([code, { status, retryable, summary }]) => [
      `\`${code}\``,
      String(status),
      retryable ? 'yes' : 'no',
      summary,
    ]),
  );
});

test('the docs of the patterns name no code that does not exist', () => {
  const patterns = new URL('../../../../docs/patterns/', import.meta.url);
  const named = readdirSync(patterns).flatMap((name) => {
    const text = readFileSync(new URL(name, patterns), 'utf8');
    return [...text.matchAll(/`(PL_\w+)`/g)].map(([, code = '']) => code);
  });
  expect(named).toContain('PL_POOL_TIMEOUT');
  // Errors of the other packages are theirs.
  const ours = named.filter((code) => !/^PL_(EMBEDDED|LOAD|DOCTOR)_/.test(code));
  expect(ours.filter((code) => !Object.hasOwn(errorTable, code))).toEqual([]);
});

test.each(Object.entries(errorTable))(
  '%s has a valid status and a summary that is a sentence',
  (code, row) => {
    expect(code).toMatch(/^PL_[A-Z0-9]+(_[A-Z0-9]+)*$/);
    // 499 is the one that Node does not know: nginx's "client closed request".
    expect(row.status === 499 || STATUS_CODES[row.status] !== undefined).toBe(true);
    expect(row.status).toBeGreaterThanOrEqual(400);
    expect(row.summary).toMatch(/^[A-Z].*\.$/);
    // The page shows it in a table cell.
    expect(row.summary).not.toMatch(/[|\n]/);
  },
);

test('an error knows the status and the retryability of its code', () => {
  const error = new PlimsollError('PL_POOL_TIMEOUT', 'none free', { data: { max: 10 }, cause: 'why' });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({
    name: 'PlimsollError',
    status: 503,
    retryable: true,
    data: { max: 10 },
    cause: 'why',
  });
  expect(new PlimsollError('PL_CONFIG', 'wrong')).not.toHaveProperty('cause');
});

test('an error of another copy of the package is recognised by its code', () => {
  class ForeignError extends Error {
    readonly code: ErrorCode = 'PL_DEADLINE';
    readonly data = {};
  }
  const foreign = new ForeignError('late');
  expect(foreign).not.toBeInstanceOf(PlimsollError);
  expect(isPlimsollError(foreign)).toBe(true);
  expect(isPlimsollError(foreign, 'PL_DEADLINE')).toBe(true);
  expect(isPlimsollError(foreign, 'PL_ABORTED')).toBe(false);
});

test.each<[string, unknown]>([
  ['another code', Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })],
  ['a name of Object.prototype as code', Object.assign(new Error('odd'), { code: 'toString' })],
  ['`__proto__` as code', Object.assign(new Error('odd'), { code: '__proto__' })],
  ['a number as code', Object.assign(new Error('odd'), { code: 42 })],
  ['no code', new Error('plain')],
  ['an object that is no error', { code: 'PL_DEADLINE', message: 'late', data: {} }],
  ['nothing', undefined],
])('%s is not an error of ours', (_what, value) => {
  expect(isPlimsollError(value)).toBe(false);
});

test('configuration problems are thrown all at once, each with its path', () => {
  throwIfProblems('the plan', []);
  const problems = [
    { path: 'http.port', message: 'is -1' },
    { path: 'name', message: 'is empty' },
  ];
  expect(() => throwIfProblems('the plan', problems)).toThrow(
    expect.objectContaining({
      code: 'PL_CONFIG',
      message: 'the plan has 2 problems:\n  http.port: is -1\n  name: is empty',
      data: { problems },
    }),
  );
});
