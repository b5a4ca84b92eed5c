import { expect, test } from 'vitest';
import { PlimsollError } from '../kernel/errors.ts';
import { sqlState, translateFailure } from './failures.ts';

function failure(message: string, code?: string): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}

test.each([
  ['PL_STATEMENT_TIMEOUT', failure('canceling statement due to statement timeout', '57014')],
  ['PL_SERIALIZATION', failure('could not serialize access', '40001')],
  ['PL_SERIALIZATION', failure('deadlock detected', '40P01')],
  ['PL_DATABASE_UNAVAILABLE', failure('sorry, too many clients already', '53300')],
  ['PL_DATABASE_UNAVAILABLE', failure('terminating connection due to administrator command', '57P01')],
  ['PL_DATABASE_UNAVAILABLE', failure('the database system is starting up', '57P03')],
  ['PL_DATABASE_UNAVAILABLE', failure('connection failure', '08006')],
  ['PL_DATABASE_UNAVAILABLE', failure('', 'ECONNREFUSED')],
  ['PL_DATABASE_UNAVAILABLE', failure('getaddrinfo EAI_AGAIN db', 'EAI_AGAIN')],
  ['PL_DATABASE_UNAVAILABLE', failure('connect ENETUNREACH', 'ENETUNREACH')],
  ['PL_DATABASE_UNAVAILABLE', failure('connect ENOENT /tmp/.s.PGSQL.5432', 'ENOENT')],
  // Without a code: said by `pg` itself.
  ['PL_DATABASE_UNAVAILABLE', failure('timeout expired')],
  ['PL_DATABASE_UNAVAILABLE', failure('Connection terminated unexpectedly')],
  ['PL_DATABASE_UNAVAILABLE', failure('Cannot use a pool after calling end on the pool')],
])('%s is what becomes of: %s', (code, given) => {
  const translated = translateFailure(given, 'replica-1');
  expect(translated).toMatchObject({ code, cause: given, data: { server: 'replica-1' } });
  expect((translated as Error).message).toMatch(/^replica-1: ./);
});

test.each([
  failure('duplicate key value violates unique constraint', '23505'),
  failure('syntax error at or near "selct"', '42601'),
  failure('cannot execute INSERT in a read-only transaction', '25006'),
  failure('undefined is not a function'),
  new PlimsollError('PL_ROW_COUNT', 'connection error is only a word here'),
])('stays as it is: %s', (given) => {
  expect(translateFailure(given, 'primary')).toBe(given);
});

test('what is no error stays as it is', () => {
  expect(translateFailure('thrown text', 'primary')).toBe('thrown text');
});

test('the SQLSTATE is found through the translation', () => {
  const given = failure('deadlock detected', '40P01');
  expect(sqlState(given)).toBe('40P01');
  expect(sqlState(translateFailure(given, 'primary'))).toBe('40P01');
  expect(sqlState(new Error('plain'))).toBeUndefined();
  expect(sqlState('text')).toBeUndefined();
});
