import type { MigrationSource } from '../database/migrate.ts';

/** The tables of sagas; they need those of tasks and of the log, so apply `jobMigrations` and `outboxMigrations` first. */
export const sagaMigrations: MigrationSource = {
  component: 'plimsoll.saga',
  directory: new URL('./migrations/', import.meta.url),
};
