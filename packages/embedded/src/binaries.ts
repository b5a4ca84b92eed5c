import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { EmbeddedError, codeOf, messageOf } from './errors.ts';
import { libcHint, type NativePackage } from './platform.ts';
import { cleanEnvironment, type ServerUser } from './server-user.ts';
import { publicDirectories } from './places.ts';

const run = promisify(execFile);
const programs = ['initdb', 'postgres', 'pg_ctl'] as const;

export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Major version, as in the file `PG_VERSION`. */
  readonly major: string;
}

/** The links that npm's install script would have made, as [link, target relative to it]. */
export function linksOf(manifest: string): [link: string, target: string][] {
  const parsed: unknown = JSON.parse(manifest);
  if (!Array.isArray(parsed)) return [];
  return parsed.flatMap((entry: unknown): [string, string][] => {
    if (typeof entry !== 'object' || entry === null || !('source' in entry) || !('target' in entry))
      return [];
    const [source, target] = [String(entry.source), String(entry.target)];
    // The paths begin with `native/`; a link may not lead out of it.
    if (![source, target].every((path) => path.startsWith('native/') && !path.split('/').includes('..')))
      return [];
    return [[relative('native', target), relative(dirname(target), source)]];
  });
}

/** Makes missing library links and executable bits; throws where the directory is not ours to change. */
export function completeInstallation(native: string): void {
  const manifest = join(native, 'pg-symlinks.json');
  for (const [link, target] of existsSync(manifest) ? linksOf(readFileSync(manifest, 'utf8')) : []) {
    const path = join(native, link);
    if (existsSync(path)) continue;
    try {
      symlinkSync(target, path);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
  }
  for (const program of programs) {
    const path = join(native, 'bin', program);
    if ((statSync(path).mode & 0o555) !== 0o555) chmodSync(path, 0o755);
  }
}

/** Runs `postgres --version` as the user who will run the server: the only check that sees everything. */
async function majorVersion(native: string, user: ServerUser | undefined): Promise<string> {
  const options = { ...user, env: cleanEnvironment(), cwd: '/', timeout: 20_000 };
  for (const program of ['initdb', 'postgres'] as const) {
    const { stdout } = await run(join(native, 'bin', program), ['--version'], options);
    const major = /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1];
    if (major === undefined) throw new Error(`${program} --version answered '${stdout.trim()}'`);
    if (program === 'postgres') return major;
  }
  throw new Error('unreachable');
}

/** Names and sizes of all files, to notice a copy that a cleaner of temporary files has gone through. */
function inventory(directory: string): string {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return `${relative(directory, path)} ${lstatSync(path).size}`;
    })
    .toSorted()
    .join('\n');
}

/** A directory of ours that nobody else can write to: its programs run with our data. */
function isOurs(directory: string): boolean {
  const found = lstatSync(directory);
  return found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & 0o022) === 0;
}

async function copyOnce(native: NativePackage, target: string): Promise<boolean> {
  if (existsSync(target)) {
    if (!isOurs(target)) return false;
    if (inventory(target) === inventory(native.directory)) return true;
    const spoiled = `${target}.spoiled-${randomBytes(4).toString('hex')}`;
    await rename(target, spoiled);
    await rm(spoiled, { recursive: true, force: true });
  }
  const partial = `${target}.partial-${process.pid}-${randomBytes(4).toString('hex')}`;
  try {
    cpSync(native.directory, partial, { recursive: true, verbatimSymlinks: true });
    completeInstallation(partial);
    for (const entry of readdirSync(partial, { recursive: true, withFileTypes: true }))
      if (entry.isDirectory()) chmodSync(join(entry.parentPath, entry.name), 0o755);
      else if (entry.isFile()) makeReadable(join(entry.parentPath, entry.name));
    chmodSync(partial, 0o755);
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    // Another process was faster: its copy is as good.
    if (codeOf(error) !== 'ENOTEMPTY' && codeOf(error) !== 'EEXIST') throw error;
  }
  return isOurs(target);
}

function makeReadable(path: string): void {
  const { mode } = statSync(path);
  chmodSync(path, (mode & 0o100) === 0 ? 0o644 : 0o755);
}

function at(native: string, major: string): Binaries {
  return { initdb: join(native, 'bin/initdb'), postgres: join(native, 'bin/postgres'), major };
}

/** Uses the npm package in place when the server's user can run it there, else a copy made once. */
export async function prepareBinaries(
  native: NativePackage,
  user: ServerUser | undefined,
  log: (line: string) => void,
  parents: readonly string[] = publicDirectories(user),
): Promise<Binaries> {
  const reasons: string[] = [];
  try {
    completeInstallation(native.directory);
    return at(native.directory, await majorVersion(native.directory, user));
  } catch (error) {
    reasons.push(`in ${native.directory}: ${messageOf(error).trim()}`);
  }
  for (const parent of parents) {
    const name = `plimsoll-postgres-${native.version}-${process.arch}-${process.geteuid?.() ?? 0}`;
    const target = resolve(parent, name);
    try {
      const existed = existsSync(target);
      if (!(await copyOnce(native, target)))
        throw new Error('it belongs to another user, or others can write to it');
      const major = await majorVersion(target, user);
      if (!existed)
        log(`copied the PostgreSQL programs to ${target}, because they cannot be run ${reasons.join('; ')}`);
      return at(target, major);
    } catch (error) {
      reasons.push(`in ${target}: ${messageOf(error).trim()}`);
    }
  }
  throw new EmbeddedError(
    'PL_EMBEDDED_BINARIES',
    `The PostgreSQL programs cannot be run ${reasons.join('; ')}.${libcHint()} Reinstall the packages, or point TMPDIR to a directory that all users can enter.`,
  );
}
