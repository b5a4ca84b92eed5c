import { expect, test } from 'vitest';
import { parseMaps } from './shared-memory.ts';

test('System V and POSIX segments are found in a memory map, other mappings are not', () => {
  const maps = [
    '7f0000000000-7f0000001000 rw-s 00000000 00:01 1179666                    /SYSV0052e2c1 (deleted)',
    '7f0000002000-7f0000003000 rw-s 00000000 00:1a 12                         /dev/shm/PostgreSQL.1654232984',
    '7f0000002000-7f0000003000 rw-s 00000000 00:1a 12                         /dev/shm/PostgreSQL.1654232984',
    '7f0000004000-7f0000005000 rw-s 00000000 00:1a 13                         /dev/shm/other.1',
    '7f0000006000-7f0000007000 rw-s 00000000 00:01 3                          /dev/zero (deleted)',
  ].join('\n');
  expect(parseMaps(maps)).toEqual({ segments: ['1179666'], files: ['/dev/shm/PostgreSQL.1654232984'] });
});
