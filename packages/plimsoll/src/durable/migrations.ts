import type { MigrationSource } from '../database/migrate.ts';

/** The tables of tasks and workers. */
export const jobMigrations: MigrationSource = {
  component: 'plimsoll.durable',
  directory: new URL('./migrations/', import.meta.url),
};
