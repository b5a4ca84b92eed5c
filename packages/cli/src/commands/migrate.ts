import { migrationsOf } from 'plimsoll';
import { grantRoles } from 'plimsoll/boundaries';
import { createDatabase, migrate as applyMigrations } from 'plimsoll/database';
import { prepareViews } from 'plimsoll/views';
import type { Command } from '../command.ts';
import { loadPlan, planOption } from '../plan-file.ts';
import { openServers } from '../servers.ts';

export const migrate: Command = {
  summary: 'apply the migrations that the database does not have yet',
  options: { plan: planOption },
  notes:
    '`plimsoll start` does the same before it serves; many processes may do it at once. Where the plan asks for roles, they are made and granted too.',
  async run(values) {
    const plan = await loadPlan(values);
    await using servers = await openServers(plan, (line) => void process.stderr.write(`${line}\n`));
    await using database = createDatabase({ url: servers.url, applicationName: `${plan.name} migrate` });
    const { applied, present } = await applyMigrations(database, migrationsOf(plan));
    const views = plan.modules.flatMap((module) => module.views);
    await prepareViews({ database, log: database }, views);
    if (plan.boundaries?.roles === true) await grantRoles(database, plan.modules);
    for (const file of applied) process.stdout.write(`applied ${file}\n`);
    process.stdout.write(`${applied.length} applied, ${present} were there\n`);
    return 0;
  },
};
