import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  readdirSync,
  writeSync,
  type Dirent,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { EmbeddedError, codeOf } from './errors.ts';
import type { ServerUser } from './server-user.ts';

/** Contents PostgreSQL makes anew, or that belong to the running server: as in its manual on low-level backups. */
const emptied = new Set([
  'pg_wal',
  'pg_replslot',
  'pg_dynshmem',
  'pg_notify',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
]);

/** Files of the running server, and those that would make the copy something else than a copy. */
const skipped =
  /^(postmaster\.(pid|opts)|pg_internal\.init.*|pgsql_tmp.*|standby\.signal|recovery\.signal|backup_label(\.old)?|tablespace_map(\.old)?|backup_manifest|postgresql\.conf|pg_hba\.conf)$/;

export interface CopyOptions {
  readonly from: string;
  readonly to: string;
  readonly user: ServerUser | undefined;
  /** The source is running: files may vanish, and its log is fetched by streaming. */
  readonly live: boolean;
}

const chunkBytes = 1024 * 1024;
/** A thousand small files: each by synchronous calls (ten times faster here), with turns for others in between. */
const filesPerTurn = 16;

function whenStillThere<T>(live: boolean, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (live && codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function copyFile(
  from: string,
  to: string,
  buffer: Buffer,
  { user, live }: CopyOptions,
): Promise<void> {
  const source = whenStillThere(live, () => openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW));
  if (source === undefined) return;
  try {
    // As root, a file reached through a swapped directory must not end up in a copy others can read.
    if (user !== undefined && fstatSync(source).uid !== user.uid)
      throw refused(from, 'is not a file of the user that runs PostgreSQL');
    const target = openSync(to, 'wx', 0o600);
    try {
      if (user !== undefined) fchownSync(target, user.uid, user.gid);
      for (;;) {
        const bytes = readSync(source, buffer, 0, buffer.length, null);
        if (bytes === 0) break;
        for (let written = 0; written < bytes;)
          written += writeSync(target, buffer, written, bytes - written);
        if (bytes === buffer.length) await nextTurn();
      }
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}

function refused(path: string, why: string): EmbeddedError {
  return new EmbeddedError(
    'PL_EMBEDDED_REPLICA',
    `${path} ${why}: a replica cannot be copied from this directory.`,
  );
}

/** Copies a data directory, without what belongs to the running server or to its configuration. */
export async function copyDataDirectory(options: CopyOptions): Promise<void> {
  const files: [from: string, to: string][] = [];
  const directories: string[] = [];
  const make = (path: string): void => {
    mkdirSync(path, { mode: 0o700 });
    directories.push(path);
  };
  const visit = (entry: Dirent, from: string, to: string, depth: number): void => {
    if (skipped.test(entry.name)) return;
    if (entry.isFile()) files.push([from, to]);
    else if (!entry.isDirectory())
      throw refused(from, 'is neither a file nor a directory (a tablespace outside the data directory?)');
    else if (options.live && depth === 0 && emptied.has(entry.name)) {
      make(to);
      if (entry.name === 'pg_wal') for (const name of ['archive_status', 'summaries']) make(join(to, name));
    } else walk(from, to, depth + 1);
  };
  const walk = (from: string, to: string, depth: number): void => {
    make(to);
    const entries =
      whenStillThere(options.live && depth > 0, () => readdirSync(from, { withFileTypes: true })) ?? [];
    for (const entry of entries) visit(entry, join(from, entry.name), join(to, entry.name), depth);
  };
  walk(options.from, options.to, 0);
  const buffer = Buffer.allocUnsafe(chunkBytes);
  for (const [index, [from, to]] of files.entries()) {
    if (index % filesPerTurn === 0) await nextTurn();
    await copyFile(from, to, buffer, options);
  }
  // The directories last and the topmost very last: until then nobody else can look in.
  for (const path of directories.toReversed()) handOver(path, options.user);
}

function handOver(path: string, user: ServerUser | undefined): void {
  if (user === undefined) return;
  const handle = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_DIRECTORY);
  try {
    fchownSync(handle, user.uid, user.gid);
  } finally {
    closeSync(handle);
  }
}
