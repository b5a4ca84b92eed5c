import { createHash } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { EmbeddedError, messageOf } from './errors.ts';
import { firstClosedTo, type ServerUser } from './server-user.ts';

/** Marks a directory as one of ours; written first, so that nothing else is ever cleaned or reused. */
export const clusterMark = 'PLIMSOLL_CLUSTER';
export const temporaryPrefix = 'plimsoll-pg-';

export interface Place {
  readonly path: string;
  /** Removed when the cluster stops. */
  readonly temporary: boolean;
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Existing directories for temporary files that the server's user can enter and we can write to. */
export function publicDirectories(user: ServerUser | undefined): string[] {
  const real = [tmpdir(), '/tmp', '/var/tmp']
    .filter((path) => existsSync(path))
    .map((path) => realpathSync(path));
  const usable = [...new Set(real)].filter(
    (path) => isWritable(path) && firstClosedTo(path, user) === undefined,
  );
  if (usable.length > 0) return usable;
  throw new EmbeddedError(
    'PL_EMBEDDED_DATA_DIR',
    `No directory for temporary files can be used (tried ${real.join(', ')}): point TMPDIR to one that is writable and that all users can enter.`,
  );
}

/** The mode of a cluster's directory: the server's user has to pass through it, and no more. */
function modeFor(user: ServerUser | undefined): number {
  return user === undefined ? 0o700 : 0o711;
}

function ownTemporary(user: ServerUser | undefined): Place {
  const [parent = tmpdir()] = publicDirectories(user);
  const path = mkdtempSync(join(parent, `${temporaryPrefix}${process.geteuid?.() ?? 0}-`));
  chmodSync(path, modeFor(user));
  return { path, temporary: true };
}

/** The real path, also of something that does not exist yet. */
function realPath(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const parent = dirname(path);
  return parent === path ? path : join(realPath(parent), basename(path));
}

/** Where data of a closed directory goes instead: the same place for the same directory, every time. */
function standIn(wanted: string, user: ServerUser): string {
  const hash = createHash('sha256').update(wanted).digest('hex').slice(0, 16);
  const state = '/var/lib/plimsoll';
  try {
    // Not below /var/tmp if it can be avoided: cleaners of temporary files would eat a database that is kept.
    mkdirSync(state, { recursive: true, mode: 0o755 });
    const { uid, mode } = statSync(state);
    if (uid === process.geteuid?.() && (mode & 0o022) === 0 && firstClosedTo(state, user) === undefined)
      return join(state, hash);
  } catch {
    // A read-only system: fall through.
  }
  const [parent = '/var/tmp'] = publicDirectories(user).toReversed();
  return join(parent, `plimsoll-data-${hash}`);
}

/** Refuses a directory that holds somebody else's files: nothing in it may be touched. */
export function checkOurs(path: string): void {
  const entries = readdirSync(path);
  if (entries.length === 0 || entries.includes(clusterMark)) return;
  const shown = entries.slice(0, 3).join(', ');
  const server = entries.includes('PG_VERSION')
    ? ' It looks like the data directory of another PostgreSQL server.'
    : '';
  throw new EmbeddedError(
    'PL_EMBEDDED_DATA_DIR',
    `dataDir ${path} is not empty and was not made by this package (it holds ${shown}).${server} Pass an empty directory, or one that does not exist yet.`,
  );
}

/** Where the data of a `dataDir` is, and which directory on the way there is closed to the user that runs PostgreSQL. */
export function placeOf(
  dataDir: string,
  user: ServerUser | undefined,
): { readonly wanted: string; readonly path: string; readonly closed: string | undefined } {
  const wanted = realPath(resolve(dataDir));
  const closed = user === undefined ? undefined : firstClosedTo(dirname(wanted), user);
  return {
    wanted,
    path: closed === undefined || user === undefined ? wanted : standIn(wanted, user),
    closed,
  };
}

export function choosePlace(
  dataDir: string | undefined,
  user: ServerUser | undefined,
  log: (line: string) => void,
): Place {
  if (dataDir === undefined) return ownTemporary(user);
  const { wanted, path, closed } = placeOf(dataDir, user);
  if (path !== wanted)
    log(
      `dataDir ${wanted} cannot be reached by the user that runs PostgreSQL (${closed} is closed to it): the data is in ${path}`,
    );
  try {
    mkdirSync(path, { recursive: true, mode: 0o755 });
    checkOurs(path);
    const { uid } = statSync(path);
    if (uid !== process.geteuid?.())
      throw new Error(`it belongs to the user with id ${uid}, this program runs as ${process.geteuid?.()}`);
    chmodSync(path, modeFor(user));
  } catch (cause) {
    if (cause instanceof EmbeddedError) throw cause;
    throw new EmbeddedError(
      'PL_EMBEDDED_DATA_DIR',
      `dataDir ${path} cannot be used: ${messageOf(cause)}. Pass a directory that this user may create or owns.`,
      { cause },
    );
  }
  return { path, temporary: false };
}
