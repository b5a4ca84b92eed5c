import type { MigrationSource } from '../database/migrate.ts';
import { cacheMigrations } from '../cache/migrations.ts';
import { jobMigrations } from '../durable/migrations.ts';
import { moduleMigrations } from '../modules/migrations.ts';
import { sessionMigrations } from '../gateway/session-migrations.ts';
import { rateLimitMigrations } from '../rate-limit/migrations.ts';
import { routingMigrations } from '../database/routing/migrations.ts';
import { sagaMigrations } from '../saga/migrations.ts';
import { outboxMigrations } from '../outbox/migrations.ts';
import { idempotencyMigrations } from '../idempotency/migrations.ts';
import { viewMigrations } from '../views/migrations.ts';
import type { PlanOptions } from './plan-options.ts';

/** All migrations of a plan in the order to apply them: the runtime's own, then each module's. */
export function migrationsOf(plan: Pick<PlanOptions, 'modules'>): readonly MigrationSource[] {
  return [
    routingMigrations,
    jobMigrations,
    outboxMigrations,
    sagaMigrations,
    viewMigrations,
    sessionMigrations,
    idempotencyMigrations,
    moduleMigrations,
    rateLimitMigrations,
    cacheMigrations,
    ...plan.modules.flatMap((module) =>
      module.migrations === undefined ? [] : [{ component: module.name, directory: module.migrations }],
    ),
  ];
}
