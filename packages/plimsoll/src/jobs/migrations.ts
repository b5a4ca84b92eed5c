import type { MigrationSource } from '../database/migrate.ts';

/** The receipts of accepted jobs; they stand beside tasks, so apply `jobMigrations` first. */
export const receiptMigrations: MigrationSource = {
  component: 'plimsoll.jobs',
  directory: new URL('./migrations/', import.meta.url),
};
