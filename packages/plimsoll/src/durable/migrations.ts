import type { MigrationSource } from '../database/migrate.ts';

/** The tables of tasks, workers and receipts. */
export const jobMigrations: MigrationSource = {
  component: 'plimsoll.durable',
  directory: new URL('./migrations/', import.meta.url),
};
