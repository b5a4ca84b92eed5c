import { createDatabase, type Database } from 'plimsoll/database';
import type { Plan } from 'plimsoll';
import type { Command, CommandGroup, CommandOption, Values } from '../command.ts';
import { erase, replay, retry, skip, stop } from '../events/decisions.ts';
import { decisionOptions, filterOptions, limitOption } from '../events/options.ts';
import { lag, list, listReplays, parked, show, showTrace, type Report } from '../events/reports.ts';
import { loadPlan, planOption } from '../plan-file.ts';
import { joinServers } from '../servers.ts';

type Answer = Report & { readonly code?: number };

interface EventCommand extends Pick<Command, 'summary' | 'options' | 'notes' | 'argument'> {
  readonly answer: (
    database: Database,
    values: Values,
    argument: string | undefined,
    plan: Plan,
  ) => Promise<Answer>;
}

/** A command on the database of the plan, which answers with a text for people or with JSON. */
function onDatabase({ answer, options, ...described }: EventCommand): Command {
  return {
    ...described,
    options: { plan: planOption, ...options, json: { about: 'print JSON on standard output' } },
    async run(values, argument) {
      const plan = await loadPlan(values);
      await using servers = await joinServers(plan, (line) => void process.stderr.write(`${line}\n`));
      await using database = createDatabase({ url: servers.url, applicationName: `${plan.name} events` });
      const { value, text, code = 0 } = await answer(database, values, argument, plan);
      process.stdout.write(`${values['json'] === true ? JSON.stringify(value, null, 2) : text}\n`);
      return code;
    },
  };
}

const key: CommandOption = { value: '<key>', about: 'of this event key, such as an order id' };
const parkedOptions = {
  subscription: { value: '<name>', about: 'of this subscription' },
  key,
} as const;
const chosenOptions = {
  task: { value: '<id>', about: 'this delivery, as plimsoll events parked lists it' },
  ...parkedOptions,
  all: { about: 'all that are parked' },
} as const;

export const events: CommandGroup = {
  summary: 'look at the log of events, replay it, decide about parked deliveries, erase personal data',
  commands: {
    list: onDatabase({
      summary: 'events of the log, the newest first',
      options: { ...filterOptions, limit: limitOption },
      answer: list,
    }),
    show: onDatabase({
      summary: 'one event with its payload',
      options: {},
      argument: { value: '<position>', about: 'its position in the log' },
      answer: show,
    }),
    trace: onDatabase({
      summary: 'what happened and why, as a tree',
      options: {
        key,
        type: { value: '<type>', about: 'with --key: only of events of this type' },
        request: { value: '<id>', about: 'what this request set off, by its correlation id' },
        position: { value: '<position>', about: 'the request that set off this event' },
      },
      answer: showTrace,
    }),
    lag: onDatabase({
      summary: 'how far the outbox, the subscriptions and the readers of the log are behind',
      options: {},
      answer: lag,
    }),
    replay: onDatabase({
      summary: 'bring events of the log to one subscription again; each has its effect once more',
      options: {
        subscription: { value: '<name>', about: 'module and subscription: shipping.ship' },
        ...filterOptions,
        ...decisionOptions,
        'dry-run': { about: 'only tell how many events it would be' },
      },
      notes:
        'The deliveries are run by a running app, which also goes on with the replay when this is stopped.',
      answer: replay,
    }),
    replays: onDatabase({
      summary: 'what was replayed, by whom, why, and how far it is',
      options: {},
      answer: listReplays,
    }),
    stop: onDatabase({
      summary: 'end a replay where it is',
      options: {},
      argument: { value: '<replay>', about: 'its number, as plimsoll events replays lists it' },
      answer: stop,
    }),
    parked: onDatabase({
      summary: 'deliveries that failed on their last attempt',
      options: { ...parkedOptions, limit: limitOption },
      answer: parked,
    }),
    retry: onDatabase({
      summary: 'try parked deliveries again, with all their attempts',
      options: chosenOptions,
      answer: retry,
    }),
    skip: onDatabase({
      summary: 'end parked deliveries without their effect',
      options: { ...chosenOptions, ...decisionOptions },
      answer: skip,
    }),
    erase: onDatabase({
      summary: 'take the personal data of one person out of the log',
      options: {
        subject: { value: '<id>', about: 'whose: what personal.subject of the events gives' },
        ...decisionOptions,
      },
      notes: 'Exit code 1: something of it is left; what and why is told.',
      answer: erase,
    }),
  },
};
