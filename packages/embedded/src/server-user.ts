import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { EmbeddedError } from './errors.ts';

/** The unprivileged user that runs PostgreSQL, which refuses to run as root. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

const name = 'nobody';

export function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/** `undefined` when not root: the server then runs as the caller. */
export function serverUser(): ServerUser | undefined {
  if (!isRoot()) return undefined;
  try {
    const id = (flag: string): number =>
      Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
    return { uid: id('-u'), gid: id('-g') };
  } catch (cause) {
    throw new EmbeddedError(
      'PL_EMBEDDED_USER',
      `PostgreSQL refuses to run as root, and there is no user '${name}' to run it as: create that user, or start this program as an ordinary one.`,
      { cause },
    );
  }
}

export interface Permissions {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** The first directory on the way to `path`, itself included, that `user` may not enter. Missing ones pass. */
export function firstClosedTo(
  path: string,
  user: ServerUser | undefined,
  stat: (path: string) => Permissions | undefined = (at) => statSync(at, { throwIfNoEntry: false }),
): string | undefined {
  if (user === undefined) return undefined;
  const parent = dirname(path);
  const above = parent === path ? undefined : firstClosedTo(parent, user, stat);
  if (above !== undefined) return above;
  const found = stat(path);
  if (found === undefined) return undefined;
  const bit = found.uid === user.uid ? 0o100 : found.gid === user.gid ? 0o010 : 0o001;
  return (found.mode & bit) === 0 ? path : undefined;
}

/** The environment of every program started here: nothing of the caller's, so no `PG*` and no `LD_PRELOAD`. */
export function cleanEnvironment(): Record<string, string> {
  return { LC_ALL: 'C', TZ: 'UTC', PATH: process.env['PATH'] ?? '/usr/bin:/bin' };
}
