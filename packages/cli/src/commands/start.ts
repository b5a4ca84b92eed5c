import { createApp } from 'plimsoll';
import { createLogger } from 'plimsoll/telemetry';
import type { Command } from '../command.ts';
import { loadPlan, planOption } from '../plan-file.ts';
import { untilStopped } from '../process/until-stopped.ts';
import { openServers } from '../servers.ts';

/** Log lines go to standard output as JSON, words for people to standard error. */
const say = (line: string): void => void process.stderr.write(`${line}\n`);

export const start: Command = {
  summary: 'run the app of the plan until it is told to stop',
  options: {
    plan: planOption,
    port: { value: '<number>', about: 'HTTP port, 0 for any free one' },
    pool: { value: '<number>', about: 'database connections per server, for writes and for reads each' },
    'log-level': { value: '<level>', about: 'trace, debug, info (default), warn, error or silent' },
  },
  notes:
    'DATABASE_URL and DATABASE_REPLICA_URLS (separated by commas) name your own servers; without them an\nembedded PostgreSQL is started in .plimsoll/data. SIGTERM and Ctrl-C drain and end.',
  async run(values) {
    const plan = await loadPlan(values);
    const stopped = untilStopped();
    await using servers = await openServers(plan, say);
    const level = typeof values['log-level'] === 'string' ? values['log-level'] : 'info';
    await using app = createApp(plan, {
      databaseUrl: servers.url,
      replicaUrls: servers.replicaUrls,
      logger: createLogger({ name: plan.name, level }),
    });
    await app.start();
    say(
      `${plan.name} answers at ${app.url}  (${servers.description}; ${app.migrations.applied.length} migrations applied)`,
    );
    if (process.connected) process.send?.({ url: app.url });
    say(`stopping: ${await stopped}`);
    return 0;
  },
};
