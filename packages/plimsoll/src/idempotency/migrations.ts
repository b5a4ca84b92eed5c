import type { MigrationSource } from '../database/migrate.ts';

/** The table of keys and answers. */
export const idempotencyMigrations: MigrationSource = {
  component: 'plimsoll.idempotency',
  directory: new URL('./migrations/', import.meta.url),
};
