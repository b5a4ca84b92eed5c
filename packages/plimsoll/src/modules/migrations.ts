import type { MigrationSource } from '../database/migrate.ts';

/** The table of effects outside the database. */
export const moduleMigrations: MigrationSource = {
  component: 'plimsoll.modules',
  directory: new URL('./migrations/', import.meta.url),
};
