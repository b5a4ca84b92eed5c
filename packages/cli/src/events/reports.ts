import { eventLag, listEvents, parkedDeliveries, replays, trace, type TraceStart } from 'plimsoll/outbox';
import type { Database } from 'plimsoll/database';
import { sagaFacts } from 'plimsoll/saga';
import type { Values } from '../command.ts';
import { UsageError } from '../failure.ts';
import { filterOf, limitOf, numberArgument, positionOption, textOption } from '../option-values.ts';
import { renderTrace, time } from './render-trace.ts';
import { table } from '../table.ts';
import type { Report } from '../on-database.ts';

/** What a command answers: a value for programs and its text for people. */
export async function list(database: Database, values: Values): Promise<Report> {
  const value = await listEvents(database, filterOf(values), limitOf(values));
  const rows = value.map((event) => [
    event.position,
    time(event.at),
    event.type,
    event.key ?? '',
    event.correlationId,
    event.erasedAt === null ? JSON.stringify(event.payload) : `erased ${JSON.stringify(event.payload)}`,
  ]);
  const text =
    rows.length === 0
      ? 'no event of the log matches'
      : table(['position', 'emitted at', 'type', 'key', 'request', 'payload'], rows);
  return { value, text };
}

export async function show(
  database: Database,
  _values: Values,
  argument: string | undefined,
): Promise<Report> {
  const position = numberArgument(argument, 'give the position of an event, from plimsoll events list');
  const [event] = await listEvents(database, { fromPosition: position, toPosition: position }, 1);
  if (event === undefined)
    throw new UsageError(
      `the log has no event at position ${position}; plimsoll events list shows the newest`,
    );
  const { payload, ...facts } = event;
  const lines = Object.entries(facts)
    .filter(([, fact]) => fact !== null)
    .map(
      ([name, fact]) => `${name.padEnd(14)}${typeof fact === 'object' ? JSON.stringify(fact) : String(fact)}`,
    );
  return { value: event, text: [...lines, 'payload', JSON.stringify(payload, undefined, 2)].join('\n') };
}

export async function showTrace(database: Database, values: Values): Promise<Report> {
  const value = await trace(database, await startOf(database, values), [sagaFacts]);
  return { value, text: value.length === 0 ? 'nothing is known of it' : renderTrace(value) };
}

async function startOf(database: Database, values: Values): Promise<TraceStart> {
  const [key, request] = [textOption(values, 'key'), textOption(values, 'request')];
  const position = positionOption(values, 'position');
  if (request !== undefined) return { correlationId: request };
  if (key !== undefined) return { key, type: textOption(values, 'type') };
  if (position === undefined)
    throw new UsageError('nothing to begin with: give --key <key>, --request <id> or --position <position>');
  const [event] = await listEvents(database, { fromPosition: position, toPosition: position }, 1);
  if (event === undefined) throw new UsageError(`the log has no event at position ${position}`);
  return { correlationId: event.correlationId };
}

export async function parked(database: Database, values: Values): Promise<Report> {
  const filter = { subscription: textOption(values, 'subscription'), key: textOption(values, 'key') };
  const value = await parkedDeliveries(database, filter, limitOf(values));
  const rows = value.map((delivery) => [
    delivery.id,
    delivery.subscription,
    delivery.position,
    delivery.key ?? '',
    delivery.attempts,
    delivery.waiting,
    time(delivery.parkedAt),
    delivery.error ?? '',
  ]);
  const heading = [
    'task',
    'subscription',
    'position',
    'key',
    'attempts',
    'behind it',
    'parked at',
    'last error',
  ];
  return { value, text: rows.length === 0 ? 'no delivery is parked' : table(heading, rows) };
}

export async function lag(database: Database): Promise<Report> {
  const value = await eventLag(database);
  const { outbox, subscriptions, readers } = value;
  const own = subscriptions.map((each) => [
    each.name,
    each.eventType,
    each.backlog,
    each.oldestMs,
    each.parked,
    each.behind,
  ]);
  const text = [
    `outbox: ${outbox.events} events without a position, the oldest for ${outbox.oldestMs} ms`,
    '',
    table(['subscription', 'event', 'backlog', 'oldest ms', 'parked', 'to catch up'], own),
    ...(readers.length === 0
      ? []
      : [
          '',
          table(
            ['reader of the log', 'behind'],
            readers.map(({ name, behind }) => [name, behind]),
          ),
        ]),
  ].join('\n');
  return { value, text };
}

export async function listReplays(database: Database): Promise<Report> {
  const value = await replays(database);
  const rows = value.map((each) => [
    each.id,
    each.subscription,
    each.delivered,
    `${each.position}/${each.until}`,
    each.endedAt === null ? 'under way' : time(each.endedAt),
    each.by,
    each.why,
  ]);
  const heading = ['replay', 'subscription', 'delivered', 'position', 'ended', 'by', 'why'];
  return { value, text: rows.length === 0 ? 'nothing was ever replayed' : table(heading, rows) };
}
