import type { MigrationSource } from '../database/migrate.ts';
import type { PlanOptions } from './plan.ts';

/** All migrations of a plan in the order to apply them: the runtime's own, then each module's. */
export function migrationsOf(plan: Pick<PlanOptions, 'modules'>): readonly MigrationSource[] {
  return [
    { component: 'plimsoll.durable', directory: new URL('../durable/migrations/', import.meta.url) },
    { component: 'plimsoll.outbox', directory: new URL('../outbox/migrations/', import.meta.url) },
    ...plan.modules.flatMap((module) =>
      module.migrations === undefined ? [] : [{ component: module.name, directory: module.migrations }],
    ),
  ];
}
