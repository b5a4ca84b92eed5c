import { expect, test } from 'vitest';
import type { ProcessEntry } from './process-entry.ts';
import { identify, isRunning, parseStat, serversUnder } from './process-table.ts';
import { parsePs } from './process-table-ps.ts';

const entry = (command: string): ProcessEntry => ({ pid: 7, startedAt: 'x', parentPid: 1, command });

test('a command name with spaces and brackets does not shift the fields of /proc/<pid>/stat', () => {
  const rest = Array.from({ length: 40 }, (_, index) => String(index + 3)).slice(2);
  expect(parseStat(`42 (a) b (c) S 17 ${rest.join(' ')}`)).toEqual({
    state: 'S',
    parentPid: 17,
    startTicks: '22',
  });
});

test('lines of ps are read, zombies left out', () => {
  const output = [
    '    1     0 Ss   Mon Nov  2 10:20:30 2026 /sbin/launchd',
    '  812     1 S+   Mon Nov 12 10:20:31 2026 /opt/my dir/bin/postgres -D /tmp/my dir/primary',
    '  813   812 Z    Mon Nov 12 10:20:31 2026 (postgres)',
  ].join('\n');
  expect(parsePs(output)).toEqual([
    { pid: 1, parentPid: 0, startedAt: 'Mon Nov 2 10:20:30 2026', command: '/sbin/launchd' },
    {
      pid: 812,
      parentPid: 1,
      startedAt: 'Mon Nov 12 10:20:31 2026',
      command: '/opt/my dir/bin/postgres -D /tmp/my dir/primary',
    },
  ]);
});

test('servers are found by their data directory, whatever the path holds; others are not', () => {
  const found = serversUnder("/tmp/a -b's", [
    entry("/x y/bin/postgres -D /tmp/a -b's/primary"),
    entry("/x/bin/initdb -D /tmp/a -b's/primary.initialising -U postgres --no-sync"),
    entry("/x/bin/postgres -D /tmp/a -b's-other/primary"),
    entry('/x/bin/postgres -D /tmp/a'),
    entry("node cluster.ts -D /tmp/a -b's/primary"),
    entry('postgres: plimsoll primary: checkpointer'),
  ]);
  expect(found.map(({ program, dataDir }) => [program, dataDir])).toEqual([
    ['postgres', "/tmp/a -b's/primary"],
    ['initdb', "/tmp/a -b's/primary.initialising"],
  ]);
});

test('a process id that was recycled is another process', () => {
  const me = identify(process.pid);
  expect(me && isRunning(me)).toBe(true);
  expect(isRunning({ pid: process.pid, startedAt: 'another time' })).toBe(false);
  expect(identify(999_999_999)).toBeUndefined();
});
