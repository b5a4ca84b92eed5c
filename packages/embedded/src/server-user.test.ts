import { expect, test } from 'vitest';
import { cleanEnvironment, firstClosedTo, type Permissions } from './server-user.ts';

const user = { uid: 65_534, gid: 65_534 };
const tree: Record<string, Permissions> = {
  '/': { mode: 0o755, uid: 0, gid: 0 },
  '/root': { mode: 0o700, uid: 0, gid: 0 },
  '/root/app': { mode: 0o755, uid: 0, gid: 0 },
  '/srv': { mode: 0o711, uid: 0, gid: 0 },
  '/srv/theirs': { mode: 0o700, uid: 65_534, gid: 0 },
  '/srv/group': { mode: 0o701, uid: 0, gid: 65_534 },
};
const closed = (path: string, who: typeof user | undefined = user): string | undefined =>
  firstClosedTo(path, who, (at) => tree[at]);

test('the first closed directory on the way is named', () => {
  expect(closed('/root/app/data')).toBe('/root');
  expect(closed('/srv/missing/data')).toBeUndefined();
  expect(closed('/srv/theirs')).toBeUndefined();
  expect(closed('/srv/group')).toBe('/srv/group');
  expect(firstClosedTo('/root/app', undefined, (at) => tree[at])).toBeUndefined();
});

test('servers get nothing of the caller but the PATH', () => {
  expect(Object.keys(cleanEnvironment()).toSorted()).toEqual(['LC_ALL', 'PATH', 'TZ']);
});
