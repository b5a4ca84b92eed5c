import type { MigrationSource } from '../database/migrate.ts';

/** The table of sessions. */
export const sessionMigrations: MigrationSource = {
  component: 'plimsoll.gateway',
  directory: new URL('./migrations/', import.meta.url),
};
