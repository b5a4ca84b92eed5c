import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { withClient } from './client.ts';
import { copyDataDirectory } from './copy-data.ts';
import { EmbeddedError } from './errors.ts';
import { writeWhole } from './files.ts';
import { removeTree } from './remove-cluster.ts';
import type { ServerUser } from './server-user.ts';
import { until } from './until.ts';

const backupMs = 600_000;

export interface SeedOptions {
  readonly name: string;
  readonly dataDir: string;
  readonly user: ServerUser | undefined;
}

/** Fills a directory under another name and renames it: a half-made copy is never mistaken for a replica. */
async function replaceWith(options: SeedOptions, fill: (draft: string) => Promise<void>): Promise<void> {
  const { dataDir, user } = options;
  const [draft, replaced] = [`${dataDir}.seeding`, `${dataDir}.replaced`];
  await removeTree(draft);
  await removeTree(replaced);
  await fill(draft);
  writeWhole(join(draft, 'standby.signal'), '', user);
  if (existsSync(dataDir)) renameSync(dataDir, replaced);
  renameSync(draft, dataDir);
  await removeTree(replaced);
}

/** The fast way: from a primary that has been initialised and never started. */
export async function seedFromPristine(options: SeedOptions, primaryDataDir: string): Promise<void> {
  await replaceWith(options, (draft) =>
    copyDataDirectory({ from: primaryDataDir, to: draft, user: options.user, live: false }),
  );
}

/** A base backup from a running server. Its slot is made first, so that the log it needs is still there later. */
export async function seedFromRunning(
  options: SeedOptions,
  source: { readonly url: string; readonly dataDir: string },
): Promise<void> {
  await renewSlot(source.url, slotOf(options.name));
  await replaceWith(options, (draft) =>
    withClient(
      source.url,
      async (connection) => {
        await connection.rows('select pg_backup_start($1, fast => true)', [`plimsoll ${options.name}`]);
        await copyDataDirectory({ from: source.dataDir, to: draft, user: options.user, live: true });
        const [backup] = await connection.rows<{ labelfile: string; spcmapfile: string }>(
          'select labelfile, spcmapfile from pg_backup_stop(wait_for_archive => false)',
        );
        if (backup === undefined || backup.spcmapfile.trim() !== '')
          throw new EmbeddedError(
            'PL_EMBEDDED_REPLICA',
            `${options.name} cannot be seeded: the database uses tablespaces; drop them.`,
          );
        writeWhole(join(draft, 'backup_label'), backup.labelfile, options.user);
      },
      { timeoutMs: backupMs },
    ),
  );
}

export function slotOf(name: string): string {
  return name.replaceAll('-', '_');
}

export async function ensureSlot(url: string, slot: string): Promise<void> {
  await withClient(url, async (connection) => {
    // A slot whose log was given up (max_slot_wal_keep_size) can never be used again.
    await connection.rows(
      "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1 and wal_status = 'lost'",
      [slot],
    );
    await connection.rows(
      'select pg_create_physical_replication_slot($1, true) where not exists (select from pg_replication_slots where slot_name = $1)',
      [slot],
    );
  });
}

/** Slots of replicas that this run does not have would keep the log for ever. */
export async function dropOtherSlots(url: string, slots: readonly string[]): Promise<void> {
  await withClient(url, async (connection) => {
    await connection.rows(
      "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'replica\\_%' and slot_type = 'physical' and not active and slot_name <> all ($1)",
      [slots],
    );
  });
}

async function renewSlot(url: string, slot: string): Promise<void> {
  await withClient(url, async (connection) => {
    await until(
      async () => {
        const [found] = await connection.rows<{ active: boolean }>(
          'select active from pg_replication_slots where slot_name = $1',
          [slot],
        );
        if (found?.active === true) return false;
        if (found !== undefined) await connection.rows('select pg_drop_replication_slot($1)', [slot]);
        return true;
      },
      {
        timeoutMs: 10_000,
        late: () =>
          new EmbeddedError(
            'PL_EMBEDDED_TIMEOUT',
            `The replication slot ${slot} was still in use after 10 s: end the connection that uses it.`,
          ),
      },
    );
    await connection.rows('select pg_create_physical_replication_slot($1, true)', [slot]);
  });
}
