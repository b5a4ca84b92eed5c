import type { MigrationSource } from '../database/migrate.ts';

/** The table that says which tables a view has and how far each is; in the database of the views. */
export const viewMigrations: MigrationSource = {
  component: 'plimsoll.views',
  directory: new URL('./migrations/', import.meta.url),
};
