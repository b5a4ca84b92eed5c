import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { EmbeddedError, messageOf } from './errors.ts';
import { makePrivate, writeWhole } from './files.ts';
import { removeTree } from './remove-cluster.ts';
import { cleanEnvironment, type ServerUser } from './server-user.ts';

export interface InitialiseOptions {
  readonly directory: string;
  readonly binaries: Binaries;
  readonly user: ServerUser | undefined;
  /** Whether the new data must survive a power loss. */
  readonly durable: boolean;
  readonly log: (line: string) => void;
}

/** The superuser's password, made once for each cluster and readable by its owner only. */
export function readPassword(directory: string, mayCreate: boolean): string {
  const path = join(directory, 'password');
  if (existsSync(path)) return readFileSync(path, 'utf8').trim();
  if (!mayCreate)
    throw new EmbeddedError(
      'PL_EMBEDDED_DATA_DIR',
      `The file ${path} with the password of the database is missing: put it back, or remove ${directory} to begin with an empty database.`,
    );
  const password = randomBytes(24).toString('hex');
  writeWhole(path, `${password}\n`);
  return password;
}

function runInitdb(options: InitialiseOptions, dataDir: string, passwordFile: string): Promise<void> {
  const { binaries, user, durable } = options;
  const args = ['-D', dataDir, '-U', 'postgres', `--pwfile=${passwordFile}`, '--auth=scram-sha-256'];
  args.push(
    '--encoding=UTF8',
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--no-instructions',
  );
  if (!durable) args.push('--no-sync');
  return new Promise((resolve, reject) => {
    const child = spawn(binaries.initdb, args, {
      ...user,
      detached: true,
      cwd: '/',
      env: cleanEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const collect = (chunk: Buffer): void => {
      output += chunk.toString('utf8');
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const fail = (why: string): void =>
      reject(
        new EmbeddedError(
          'PL_EMBEDDED_START',
          `initdb could not create ${dataDir}: ${why}. Its last lines:\n${output.trim().split('\n').slice(-12).join('\n')}`,
        ),
      );
    child.once('error', (error) => fail(messageOf(error)));
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else fail(signal === null ? `it ended with code ${code}` : `it was ended by ${signal}`);
    });
  });
}

/** Moved aside and never deleted: it may hold the only copy of something. */
export function moveAside(path: string, why: string, log: (line: string) => void): void {
  const aside = `${path}.${why}-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`;
  renameSync(path, aside);
  log(`moved ${path} to ${aside} (${why})`);
}

function checkMajor(dataDir: string, binaries: Binaries): void {
  const major = readFileSync(join(dataDir, 'PG_VERSION'), 'utf8').trim();
  if (major === binaries.major) return;
  throw new EmbeddedError(
    'PL_EMBEDDED_DATA_DIR',
    `${dataDir} was made by PostgreSQL ${major} and the installed programs are ${binaries.major}: install that version's package, or pass another dataDir and load a dump into it.`,
  );
}

/**
 * True when the primary's data was created now. `initdb` works in a directory of another name, renamed when it
 * has succeeded: an interrupted one is recognised by its name alone.
 */
export async function initialisePrimary(options: InitialiseOptions): Promise<boolean> {
  const { directory, log } = options;
  const dataDir = join(directory, 'primary');
  for (const name of readdirSync(directory).filter((entry) =>
    /\.(initialising|seeding|replaced)$/.test(entry),
  )) {
    log(`removing ${name}, left by a run that was interrupted`);
    await removeTree(join(directory, name));
  }
  rmSync(join(directory, 'initial-password'), { force: true });
  if (
    existsSync(dataDir) &&
    !['PG_VERSION', 'global/pg_control'].every((name) => existsSync(join(dataDir, name)))
  )
    moveAside(dataDir, 'incomplete', log);
  if (existsSync(dataDir)) {
    checkMajor(dataDir, options.binaries);
    return false;
  }
  const draft = `${dataDir}.initialising`;
  const passwordFile = join(directory, 'initial-password');
  const password = readPassword(directory, true);
  try {
    makePrivate(draft, options.user);
    writeWhole(passwordFile, `${password}\n`, options.user);
    await runInitdb(options, draft, passwordFile);
    renameSync(draft, dataDir);
  } finally {
    rmSync(passwordFile, { force: true });
  }
  return true;
}
