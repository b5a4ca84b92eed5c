import { randomBytes } from 'node:crypto';
import { chownSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import type { ServerUser } from './server-user.ts';

/**
 * Replaces a file whole. A new file is renamed over the old name, so that a link which the server's user might
 * have put there is replaced and never followed.
 */
export function writeWhole(path: string, content: string, user?: ServerUser): void {
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  writeFileSync(draft, content, { mode: 0o600, flag: 'wx' });
  if (user !== undefined) chownSync(draft, user.uid, user.gid);
  renameSync(draft, path);
}

/** An empty directory that only the server's user can enter. */
export function makePrivate(path: string, user: ServerUser | undefined): void {
  mkdirSync(path, { mode: 0o700 });
  if (user !== undefined) chownSync(path, user.uid, user.gid);
}
