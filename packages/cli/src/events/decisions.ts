import { setTimeout as delay } from 'node:timers/promises';
import { eraseSubject, membersOf, type Plan } from 'plimsoll';
import {
  countReplay,
  replayOnce,
  replayState,
  retryParked,
  skipParked,
  startReplay,
  stopReplay,
  type ParkedFilter,
} from 'plimsoll/outbox';
import type { Database } from 'plimsoll/database';
import type { Values } from '../command.ts';
import { UsageError } from '../failure.ts';
import { decisionOf, filterOf, needOption, numberArgument, textOption } from '../option-values.ts';
import type { Report } from '../on-database.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);
/** Between two looks at a subscription that has as much to do as it should. */
const waitMs = 200;
const tellEveryMs = 1_000;

export async function replay(database: Database, values: Values): Promise<Report> {
  const subscription = needOption(
    values,
    'subscription',
    'give --subscription <name>, module and subscription, such as shipping.ship',
  );
  const filter = filterOf(values);
  const events = await countReplay(database, { subscription, filter });
  if (values['dry-run'] === true)
    return {
      value: { subscription, events },
      text: `${events} events would be delivered to ${subscription} again`,
    };
  const { id } = await startReplay(database, { subscription, filter, ...decisionOf(values) });
  say(
    `replay ${id}: ${events} events to ${subscription}; it goes on when this command ends, if an app is running`,
  );
  let toldAtMs = Date.now();
  for (;;) {
    const state = await replayOnce(database, id);
    if (state === 'ended') break;
    if (Date.now() - toldAtMs >= tellEveryMs) {
      toldAtMs = Date.now();
      const { delivered, position, until } = await replayState(database, id);
      const waits = state === 'waiting' ? ', waiting for its workers' : '';
      say(`replay ${id}: ${delivered} of ${events} delivered, position ${position} of ${until}${waits}`);
    }
    if (state === 'waiting') await delay(waitMs);
  }
  const value = await replayState(database, id);
  return { value, text: `replay ${id}: ${value.delivered} events delivered to ${subscription} again` };
}

export async function stop(
  database: Database,
  _values: Values,
  argument: string | undefined,
): Promise<Report> {
  const id = numberArgument(argument, 'give the number of a replay, from plimsoll events replays');
  const stopped = await stopReplay(database, id);
  const { delivered } = await replayState(database, id);
  return {
    value: { id, stopped, delivered },
    text: stopped
      ? `replay ${id} is stopped; ${delivered} events were delivered by then`
      : `replay ${id} had ended already`,
  };
}

export async function retry(database: Database, values: Values): Promise<Report> {
  const tried = await retryParked(database, chosen(values));
  return { value: { retried: tried }, text: `${tried} parked deliveries are tried again` };
}

export async function skip(database: Database, values: Values): Promise<Report> {
  const skipped = await skipParked(database, chosen(values), decisionOf(values));
  return {
    value: { skipped },
    text: `${skipped} parked deliveries are skipped; their events had no effect there`,
  };
}

function chosen(values: Values): ParkedFilter {
  const id = textOption(values, 'task');
  const [subscription, key] = [textOption(values, 'subscription'), textOption(values, 'key')];
  if (id === undefined && subscription === undefined && key === undefined && values['all'] !== true)
    throw new UsageError(
      'nothing is chosen: give --task <id>, --subscription <name>, --key <key> or --all; plimsoll events parked lists them',
    );
  if (id !== undefined && !/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(id))
    throw new UsageError(
      `--task is ${JSON.stringify(id)}; want the id of a task, as plimsoll events parked lists it`,
    );
  return { id, subscription, key };
}

/** Exit code 1 when something of the person is left. */
export async function erase(
  database: Database,
  values: Values,
  _argument: string | undefined,
  plan: Plan,
): Promise<Report & { readonly code: number }> {
  const subject = needOption(values, 'subject', 'give --subject <id>, the person whose data it is');
  const declared = plan.modules.flatMap((module) => membersOf(module.contract));
  const value = await eraseSubject(database, declared, { subject, ...decisionOf(values) });
  const lines = [
    `of ${subject} are without personal data now: ${value.events} events, ${value.deliveries} deliveries, ${value.jobs} jobs, ${value.sagas} sagas; ${value.answers} recorded answers are gone`,
    ...value.left.map(
      ({ kind, name, version, count, why }) =>
        `left: ${count} ${kind}${count === 1 ? '' : 's'} ${name}${version === undefined ? '' : ` version ${version}`}: ${why}`,
    ),
    ...(value.complete
      ? []
      : ['transactions that were open at the beginning are open still: run this again when they have ended']),
  ];
  return { value, text: lines.join('\n'), code: value.left.length === 0 && value.complete ? 0 : 1 };
}
