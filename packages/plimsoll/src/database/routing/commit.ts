import type pg from 'pg';
import { systemClock } from '../../kernel/clock.ts';
import type { Seen } from '../../kernel/seen.ts';
import { sqlState } from '../failures.ts';
import type { Causality } from './causality.ts';
import { sendFlight } from './flight.ts';
import { columnsOf, primarySample } from './position.ts';

/** Before COMMIT: whether it will wait for the disk, which may hold for this transaction only, and whether it wrote. */
const beforeCommit = `select current_setting('synchronous_commit'), pg_current_xact_id_if_assigned() is not null`;

/**
 * Commits, and notes in the token the position that the commit is at or below. The position is taken after COMMIT, in
 * the same message: one from before it may be one at which the commit cannot be seen. Answers the tag of COMMIT.
 */
export async function commitNoting(client: pg.ClientBase, causality: Causality, seen: Seen): Promise<string> {
  // Until the server has told once that it knows positions, none is asked of it with a COMMIT.
  if (causality.epoch === undefined) return await commitFirst(client, causality, seen);
  const { turn } = causality;
  const sentAtMs = systemClock.monotonicMs();
  let committed = false;
  let results: pg.QueryResult[];
  try {
    const flight = {
      text: 'commit',
      before: [beforeCommit],
      after: [primarySample],
      rowMode: 'array' as const,
    };
    results = await sendFlight(client, flight, (tag) => {
      if (tag === 'COMMIT') committed = true;
    });
  } catch (error) {
    if (committed) {
      // The connection or the question after it failed; the commit did not.
      causality.noteUnknown(seen);
      return 'COMMIT';
    }
    // The transaction is aborted already, so that not even the question before COMMIT is answered.
    if (sqlState(error) === '25P02') return (await client.query('commit')).command;
    throw error;
  }
  const [before, commit, after] = results;
  if (commit?.command !== 'COMMIT') return commit?.command ?? '';
  const [syncs, wrote] = columnsOf(before?.rows[0]);
  const position = causality.positionIn(after?.rows[0]);
  if (position === undefined || !causality.accepts(position)) {
    causality.noteUnknown(seen);
  } else if (!causality.knows(position.timeline)) {
    await learnAndNote(client, causality, seen);
  } else if (wrote === true) {
    causality.noteWritten(seen, syncs === 'off' ? position.inserted : position.flushed, turn);
    causality.onCommit?.(sentAtMs, position.flushed);
  } else {
    causality.noteRead(seen, position.inserted);
  }
  return 'COMMIT';
}

async function commitFirst(client: pg.ClientBase, causality: Causality, seen: Seen): Promise<string> {
  const { command } = await client.query('commit');
  if (command !== 'COMMIT') return command;
  if (causality.unsupported === undefined) await learnAndNote(client, causality, seen);
  else causality.noteTime(seen);
  return command;
}

/** What it notes is at or after the commit, which has happened: nothing that fails here may look like its failure. */
async function learnAndNote(client: pg.ClientBase, causality: Causality, seen: Seen): Promise<void> {
  const { turn } = causality;
  const learned = await causality.learn(askOn(client)).catch(() => undefined);
  if (learned === undefined) causality.noteUnknown(seen);
  else causality.noteWritten(seen, learned.position.inserted, turn);
}

/** Asks one row on a connection that is lent. */
export function askOn(client: pg.ClientBase): (text: string) => Promise<unknown> {
  return async (text) => (await client.query<Record<string, unknown>>(text)).rows[0];
}
