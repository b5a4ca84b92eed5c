import { userInfo } from 'node:os';
import type { EventFilter } from 'plimsoll/outbox';
import type { Values } from './command.ts';
import { numberOption, UsageError } from './failure.ts';

export const filterOptions = {
  type: { value: '<type>', about: 'of this type, such as orders.placed' },
  key: { value: '<key>', about: 'of this key, such as an order id' },
  request: { value: '<id>', about: 'of what one request set off, by its correlation id' },
  from: { value: '<position>', about: 'from this position on' },
  to: { value: '<position>', about: 'up to this position' },
  since: { value: '<time>', about: 'emitted at this time or later, ISO 8601' },
  before: { value: '<time>', about: 'emitted before this time, ISO 8601' },
} as const;

export const limitOption = { value: '<number>', about: 'rows to show (default 50)' } as const;

export const decisionOptions = {
  why: { value: '<text>', about: 'the reason, which is kept' },
  by: { value: '<name>', about: 'who decides (default the user of this machine)' },
} as const;

export function textOption(values: Values, name: string): string | undefined {
  const value = values[name];
  return typeof value === 'string' ? value : undefined;
}

export function needOption(values: Values, name: string, wanted: string): string {
  const value = textOption(values, name);
  if (value !== undefined && value.trim() !== '') return value;
  throw new UsageError(`--${name} is missing: ${wanted}`);
}

export function positionOption(values: Values, name: string): number | undefined {
  const value = numberOption(name, values[name], { min: 1, max: Number.MAX_SAFE_INTEGER });
  if (value === undefined || Number.isInteger(value)) return value;
  throw new UsageError(`--${name} is ${value}; want a whole number`);
}

/** The one argument of a command, a whole number. */
export function numberArgument(argument: string | undefined, wanted: string): number {
  const value = Number(argument);
  if (argument !== undefined && Number.isSafeInteger(value) && value > 0) return value;
  throw new UsageError(
    `${argument === undefined ? 'nothing is named' : `${JSON.stringify(argument)} is no number`}: ${wanted}`,
  );
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

export function decisionOf(values: Values): { readonly by: string; readonly why: string } {
  return {
    by: textOption(values, 'by') ?? userInfo().username,
    why: needOption(values, 'why', 'give --why <text>, the reason, which is kept with the decision'),
  };
}
