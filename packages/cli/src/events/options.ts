import { userInfo } from 'node:os';
import type { EventFilter } from 'plimsoll/outbox';
import type { CommandOption, Values } from '../command.ts';
import { numberOption, UsageError } from '../failure.ts';
import { planOption } from '../plan-file.ts';

export const eventOptions: Readonly<Record<string, CommandOption>> = {
  plan: planOption,
  type: { value: '<type>', about: 'events of this type, such as orders.placed' },
  key: { value: '<key>', about: 'events of this key, such as an order id' },
  request: { value: '<id>', about: 'what one request set off, by its correlation id' },
  from: { value: '<position>', about: 'events from this position on' },
  to: { value: '<position>', about: 'events up to this position' },
  since: { value: '<time>', about: 'events emitted at this time or later, ISO 8601' },
  before: { value: '<time>', about: 'events emitted before this time, ISO 8601' },
  limit: { value: '<number>', about: 'rows to show (default 50)' },
  position: { value: '<position>', about: 'show: which event' },
  subscription: { value: '<name>', about: 'replay, parked, retry, skip: of this subscription' },
  task: { value: '<id>', about: 'retry, skip: this delivery, as parked lists it' },
  all: { about: 'retry, skip: all that are parked' },
  replay: { value: '<id>', about: 'stop: which replay' },
  subject: { value: '<id>', about: 'erase: whose personal data' },
  why: { value: '<text>', about: 'replay, skip, erase: the reason, kept with the decision' },
  by: { value: '<name>', about: 'replay, skip, erase: who decides (default the user of this machine)' },
  'dry-run': { about: 'replay: only tell how many events it would bring' },
  json: { about: 'JSON on standard output instead of a table' },
};

export function textOption(values: Values, name: string): string | undefined {
  const value = values[name];
  return typeof value === 'string' ? value : undefined;
}

export function needOption(values: Values, name: string, what: string): string {
  const value = textOption(values, name);
  if (value !== undefined && value.trim() !== '') return value;
  throw new UsageError(
    `plimsoll events ${what} needs --${name} ${eventOptions[name]?.value ?? ''}: ${eventOptions[name]?.about ?? ''}`,
  );
}

export function positionOption(values: Values, name: string): number | undefined {
  const value = numberOption(name, values[name], { min: 1, max: Number.MAX_SAFE_INTEGER });
  if (value === undefined || Number.isInteger(value)) return value;
  throw new UsageError(`--${name} is ${value}; want a whole number`);
}

function timeOption(values: Values, name: string): string | undefined {
  const value = textOption(values, name);
  if (value === undefined) return undefined;
  const at = new Date(value);
  if (Number.isNaN(at.getTime()))
    throw new UsageError(
      `--${name} is ${JSON.stringify(value)}; want a time such as 2026-01-31T12:00:00Z, or 2026-01-31`,
    );
  return at.toISOString();
}

export function filterOf(values: Values): EventFilter {
  return {
    type: textOption(values, 'type'),
    key: textOption(values, 'key'),
    correlationId: textOption(values, 'request'),
    fromPosition: positionOption(values, 'from'),
    toPosition: positionOption(values, 'to'),
    since: timeOption(values, 'since'),
    before: timeOption(values, 'before'),
  };
}

export function limitOf(values: Values): number {
  return Math.round(numberOption('limit', values['limit'], { min: 1, max: 100_000 }) ?? 50);
}

export function decisionOf(values: Values, what: string): { readonly by: string; readonly why: string } {
  return { by: textOption(values, 'by') ?? userInfo().username, why: needOption(values, 'why', what) };
}
