import { createDatabase, type Database } from 'plimsoll/database';
import type { Plan } from 'plimsoll';
import type { Command, Values } from '../command.ts';
import { erase, replay, retry, skip, stop } from '../events/decisions.ts';
import { eventOptions } from '../events/options.ts';
import { lag, list, listReplays, parked, show, showTrace, type Report } from '../events/reports.ts';
import { UsageError } from '../failure.ts';
import { loadPlan } from '../plan-file.ts';
import { openServers } from '../servers.ts';

type Answer = Report & { readonly code?: number };

const answers: Readonly<Record<string, (database: Database, values: Values, plan: Plan) => Promise<Answer>>> =
  {
    list,
    show,
    trace: showTrace,
    lag,
    replay,
    replays: listReplays,
    stop,
    parked,
    retry,
    skip,
    erase,
  };

export const events: Command = {
  summary: 'look at the log of events, replay, decide about parked deliveries, erase',
  options: eventOptions,
  argument: { value: '<what>', about: Object.keys(answers).join(', ') },
  notes: [
    'list      events of the log, the newest first',
    'show      one event with its payload',
    'trace     what happened and why, as a tree: by --key, --request or --position',
    'lag       how far the outbox, the subscriptions and the readers of the log are behind',
    'replay    bring events of the log to one subscription again; each has its effect once more',
    'replays   what was replayed, by whom and why; stop --replay <id> ends one',
    'parked    deliveries that failed on their last attempt; retry or skip them',
    'erase     take the personal data of one --subject out of the log',
    '',
    'The database is that of the plan, else of DATABASE_URL, else the embedded PostgreSQL.',
  ].join('\n'),
  async run(values, what) {
    const answer = what === undefined ? undefined : answers[what];
    if (answer === undefined)
      throw new UsageError(
        `plimsoll events ${what === undefined ? 'needs what to do' : `cannot ${JSON.stringify(what)}`}; there is ${Object.keys(answers).join(', ')}`,
      );
    const plan = await loadPlan(values);
    await using servers = await openServers(plan, (line) => void process.stderr.write(`${line}\n`));
    await using database = createDatabase({ url: servers.url, applicationName: `${plan.name} events` });
    const { value, text, code = 0 } = await answer(database, values, plan);
    process.stdout.write(`${values['json'] === true ? JSON.stringify(value) : text}\n`);
    return code;
  },
};
