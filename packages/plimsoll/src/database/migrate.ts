import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { PlimsollError } from '../kernel/errors.ts';
import type { Database } from './database.ts';
import { sql, trustedSql } from './sql.ts';
import type { Transaction } from './transaction.ts';

/** One component's migrations: numbered SQL files `001_name.sql`, `002_name.sql`, … in a directory, forward only. */
export interface MigrationSource {
  /** Whose migrations: a module's name, or `plimsoll`. */
  readonly component: string;
  readonly directory: URL;
}

export interface MigrationReport {
  /** `orders/001_orders.sql`, in the order applied. */
  readonly applied: readonly string[];
  /** Already there. */
  readonly present: number;
}

interface Migration {
  readonly number: number;
  readonly file: string;
  readonly text: string;
  readonly checksum: string;
}

const fileName = /^(\d{3})_[a-z0-9_]+\.sql$/;

/** Reads a component's files; PL_MIGRATION_INVALID unless they are numbered 001, 002, … without gap or double. */
export async function readMigrations(source: MigrationSource): Promise<readonly Migration[]> {
  let names: string[];
  try {
    names = (await readdir(source.directory)).filter((name) => name.endsWith('.sql')).toSorted();
  } catch (error) {
    throw new PlimsollError(
      'PL_MIGRATION_INVALID',
      `${source.component}: cannot read ${source.directory.pathname}`,
      { cause: error },
    );
  }
  let expected = 0;
  const problems = names.flatMap((name) => {
    const number = fileName.exec(name)?.[1];
    if (number === undefined) return [`${name}: want a name like 001_orders.sql`];
    expected += 1;
    return Number(number) === expected
      ? []
      : [`${name}: want number ${String(expected).padStart(3, '0')} here`];
  });
  if (problems.length > 0) {
    throw new PlimsollError('PL_MIGRATION_INVALID', `${source.component}: ${problems.join('; ')}`, {
      data: { problems },
    });
  }
  return Promise.all(
    names.map(async (file, index) => {
      const text = (await readFile(new URL(file, withSlash(source.directory)), 'utf8')).replaceAll(
        '\r\n',
        '\n',
      );
      return { number: index + 1, file, text, checksum: createHash('sha256').update(text).digest('hex') };
    }),
  );
}

function withSlash(directory: URL): URL {
  return directory.href.endsWith('/') ? directory : new URL(`${directory.href}/`);
}

/**
 * Applies what is missing, each file in its own transaction, components in the order given. Safe from many
 * processes at once: an advisory lock makes all but one wait and then find nothing to do. A database that is
 * ahead of the files is accepted, because an older version runs beside a newer one during a deploy.
 */
export async function migrate(
  database: Database,
  sources: readonly MigrationSource[],
): Promise<MigrationReport> {
  const wanted = await Promise.all(
    sources.map(async (source) => ({ source, migrations: await readMigrations(source) })),
  );
  await prepare(database);
  const applied: string[] = [];
  let present = 0;
  for (const { source, migrations } of wanted) {
    for (const migration of migrations) {
      if (await applyOnce(database, source.component, migration))
        applied.push(`${source.component}/${migration.file}`);
      else present += 1;
    }
  }
  return { applied, present };
}

/** A migration, and so the wait for another process that applies one, may take longer than a request may. */
async function lockOut(tx: Transaction): Promise<void> {
  await tx.execute(sql`set local statement_timeout = 0`);
  // Any constant will do, as long as all processes agree on it.
  await tx.query(sql`select pg_advisory_xact_lock(hashtextextended('plimsoll.migration', 0))`);
}

function prepare(database: Database): Promise<void> {
  return database.transaction(async (tx) => {
    // `create … if not exists` is not safe against a concurrent create, hence the lock first.
    await lockOut(tx);
    await tx.execute(sql`create schema if not exists plimsoll`);
    await tx.execute(sql`
      create table if not exists plimsoll.migration (
        component text not null, number int not null, file text not null, checksum text not null,
        applied_at timestamptz not null default now(), primary key (component, number))`);
  });
}

function applyOnce(database: Database, component: string, migration: Migration): Promise<boolean> {
  return database.transaction(async (tx) => {
    await lockOut(tx);
    const known = await tx.maybeOne<{ checksum: string; file: string }>(
      sql`select checksum, file from plimsoll.migration where component = ${component} and number = ${migration.number}`,
    );
    if (known !== undefined) {
      if (known.checksum === migration.checksum) return false;
      throw new PlimsollError(
        'PL_MIGRATION_CHANGED',
        `${component}/${migration.file} was applied with another content${known.file === migration.file ? '' : ` (as ${known.file})`}; restore that file and put the change into the next number`,
        { data: { component, file: migration.file } },
      );
    }
    await applyFile(tx, component, migration);
    await tx.execute(sql`
      insert into plimsoll.migration (component, number, file, checksum)
      values (${component}, ${migration.number}, ${migration.file}, ${migration.checksum})`);
    return true;
  });
}

async function applyFile(tx: Transaction, component: string, migration: Migration): Promise<void> {
  try {
    await tx.execute(trustedSql(migration.text));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new PlimsollError(
      'PL_MIGRATION_FAILED',
      `${component}/${migration.file} failed and was rolled back: ${reason}`,
      { cause: error, data: { component, file: migration.file } },
    );
  }
}
