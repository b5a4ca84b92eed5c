import type { MigrationSource } from '../migrate.ts';

/** The tables by which replicas prove which history they follow, and the one of the canary. */
export const routingMigrations: MigrationSource = {
  component: 'plimsoll.routing',
  directory: new URL('./migrations/', import.meta.url),
};
