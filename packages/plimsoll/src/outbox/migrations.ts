import type { MigrationSource } from '../database/migrate.ts';

/** The tables of the outbox and the log; they need those of tasks, so apply `jobMigrations` first. */
export const outboxMigrations: MigrationSource = {
  component: 'plimsoll.outbox',
  directory: new URL('./migrations/', import.meta.url),
};
