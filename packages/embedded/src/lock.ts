import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { EmbeddedError, codeOf } from './errors.ts';
import type { ProcessIdentity } from './process-entry.ts';
import { identify, isRunning } from './process-table.ts';
import { until } from './until.ts';

export interface LockRecord {
  readonly token: string;
  readonly holder: ProcessIdentity;
  /** Cleans up after a holder that died; until it has ended the directory is not free. */
  readonly guardian?: ProcessIdentity;
  readonly host: string;
  readonly since: string;
  readonly program: string;
}

export interface DirectoryLock {
  addGuardian(guardian: ProcessIdentity): void;
  /** Throws when another process has taken the lock meanwhile. */
  confirm(): void;
  release(): void;
}

const fileName = 'lock';

function isIdentity(value: unknown): value is ProcessIdentity {
  if (typeof value !== 'object' || value === null) return false;
  return (
    'pid' in value &&
    typeof value.pid === 'number' &&
    'startedAt' in value &&
    typeof value.startedAt === 'string'
  );
}

function isRecord(value: unknown): value is LockRecord {
  if (typeof value !== 'object' || value === null || !('token' in value) || !('holder' in value))
    return false;
  return isIdentity(value.holder) && (!('guardian' in value) || isIdentity(value.guardian));
}

/** `undefined` without a lock, `torn` when a power loss left one without content. */
export function readLock(directory: string): LockRecord | 'torn' | undefined {
  let text: string;
  try {
    text = readFileSync(join(directory, fileName), 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : 'torn';
  } catch {
    return 'torn';
  }
}

export function isHeld(lock: LockRecord | 'torn' | undefined): boolean {
  if (lock === undefined || lock === 'torn') return false;
  return isRunning(lock.holder) || (lock.guardian !== undefined && isRunning(lock.guardian));
}

function inUse(directory: string, lock: LockRecord): EmbeddedError {
  const who =
    lock.holder.pid === process.pid ? 'this same process' : `process ${lock.holder.pid} (${lock.program})`;
  return new EmbeddedError(
    'PL_EMBEDDED_IN_USE',
    `dataDir ${directory} is in use by ${who} since ${lock.since}: stop that cluster first, or pass another dataDir.`,
  );
}

/** Removes the lock of a dead holder. A live one that came in between is put back. */
function removeStale(directory: string, stale: LockRecord | 'torn'): void {
  const path = join(directory, fileName);
  const aside = `${path}.${randomUUID()}`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  const text = readFileSync(aside, 'utf8');
  if (stale !== 'torn' && !text.includes(stale.token)) {
    try {
      linkSync(aside, path);
    } catch {
      // A third process holds it now; `confirm` tells the one we moved aside.
    }
  }
  rmSync(aside, { force: true });
}

export async function acquireLock(directory: string): Promise<DirectoryLock> {
  const path = join(directory, fileName);
  const holder = identify(process.pid) ?? { pid: process.pid, startedAt: 'unknown' };
  const program = process.argv.slice(0, 2).join(' ');
  let record: LockRecord = {
    token: randomUUID(),
    holder,
    host: hostname(),
    since: new Date().toISOString(),
    program,
  };

  const put = (place: (draft: string) => void): void => {
    const draft = `${path}.${record.token}`;
    writeFileSync(draft, JSON.stringify(record), { mode: 0o600 });
    try {
      place(draft);
    } finally {
      rmSync(draft, { force: true });
    }
  };
  const isOurs = (): boolean => {
    const found = readLock(directory);
    return found !== undefined && found !== 'torn' && found.token === record.token;
  };

  for (;;) {
    try {
      // A hard link appears with its content, or not at all.
      put((draft) => linkSync(draft, path));
      break;
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
    const found = readLock(directory);
    if (found === undefined) continue;
    if (found !== 'torn') {
      if (isRunning(found.holder)) throw inUse(directory, found);
      const { guardian } = found;
      if (guardian !== undefined)
        await until(() => !isRunning(guardian), { timeoutMs: 90_000, late: () => inUse(directory, found) });
    }
    removeStale(directory, found);
  }

  return {
    addGuardian: (guardian) => {
      record = { ...record, guardian };
      put((draft) => renameSync(draft, path));
    },
    confirm: () => {
      const found = readLock(directory);
      if (!isOurs()) throw inUse(directory, found === undefined || found === 'torn' ? record : found);
    },
    release: () => {
      if (isOurs()) rmSync(path, { force: true });
    },
  };
}
