import type { CommandGroup, CommandOption } from '../command.ts';
import { erase, replay, retry, skip, stop } from '../events/decisions.ts';
import { lag, list, listReplays, parked, show, showTrace } from '../events/reports.ts';
import { onDatabase } from '../on-database.ts';
import { decisionOptions, filterOptions, limitOption } from '../option-values.ts';

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
      summary: 'take the personal data of one person out of the log and of all work that is kept',
      options: {
        subject: { value: '<id>', about: 'whose: what personal.subject of events, commands and sagas gives' },
        ...decisionOptions,
      },
      notes: 'Exit code 1: something of it is left; what and why is told.',
      answer: erase,
    }),
  },
};
