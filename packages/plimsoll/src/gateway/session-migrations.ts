import type { MigrationSource } from '../database/migrate.ts';

/** The tables of sessions and of what clients have seen. */
export const sessionMigrations: MigrationSource = {
  component: 'plimsoll.gateway',
  directory: new URL('./migrations/', import.meta.url),
};
