import { sql, trustedSql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { isPlimsollError, PlimsollError } from '../kernel/errors.ts';
import { Seen, type Mark } from '../kernel/seen.ts';
import { isOfDatabase, noteFailure } from './failure.ts';
import { foldBatch, isFolding, keyBatch } from './fold.ts';
import { readerName, tableSql, type PlacedView } from './place.ts';
import { readEvents } from './read-log.ts';
import { storedRows, writeRows } from './rows.ts';
import { noteReader, type Databases } from './tables.ts';
import type { EventBatch, ReadEvent, ViewEvent } from './view.ts';

/** A table, and the code that fills it. */
export interface Filling {
  readonly place: PlacedView;
  readonly table: string;
}

/** Where a table is after a batch. */
export interface Reached {
  readonly outcome: 'applied' | 'idle';
  /** Of the rows, now. */
  readonly position: number;
  /** Of the log, when it was looked at. */
  readonly head: number;
}

/** What one batch came to. `busy`: somebody else is filling the table, or it is no longer filled. */
export type Advanced =
  | { readonly outcome: 'busy' }
  /** With where the rows are in the log of their database: whoever reads there sees them. */
  | (Reached & { readonly commit: Mark | undefined });

/** What of the log a batch may take. */
export interface BatchLimits {
  /** Positions at most. */
  readonly batch: number;
  readonly statementTimeoutMs: number;
}

/** Somebody has moved the position since it was read: what was made of the batch is rolled back. */
export class PositionMoved extends Error {
  override readonly name = 'PositionMoved';
}

/** A step of a table's position, and the head of the log when it was looked at. */
export interface Move {
  readonly from: number;
  readonly upTo: number;
  readonly head: number;
}

/**
 * Applies the next events to one table: rows and position in one transaction. The row of the table is locked while it
 * runs, so one builder works at a time and the others leave; and the position moves only from where it was read, so that
 * whoever came late writes nothing. Rejects when an event cannot be read or applied; nothing of the batch is kept then, and the
 * failure of a batch of one is noted with the table.
 */
export async function advance(
  databases: Databases,
  filling: Filling,
  { batch, statementTimeoutMs }: BatchLimits,
): Promise<Advanced> {
  // Where the table was found, under its lock.
  let from: number | undefined;
  try {
    return await commit(databases, filling, statementTimeoutMs, (tx, position) => {
      from = position;
      return applyNext(tx, databases, filling, position, batch);
    });
  } catch (error) {
    const isAlone = batch === 1 || isPlimsollError(error, 'PL_VIEW_HISTORY');
    if (from !== undefined && isAlone && !isOfDatabase(error))
      await noteFailure(databases.database, filling.place.schema, filling.table, from, error).catch(
        () => undefined,
      );
    throw error;
  }
}

/** Writes what was made of the events of a move, and moves: in one transaction, if the table is where it was. */
export function commitMove(
  databases: Databases,
  filling: Filling,
  move: Move,
  statementTimeoutMs: number,
  write: (tx: Transaction) => Promise<void>,
): Promise<Advanced> {
  return commit(databases, filling, statementTimeoutMs, async (tx, position) => {
    if (position !== move.from) throw new PositionMoved(`${filling.table} is at position ${position}`);
    await write(tx);
    await movePosition(tx, databases, filling, move);
    return { outcome: 'applied', position: move.upTo, head: move.head };
  });
}

/** A transaction that holds the row of the table; `busy` when somebody else does, or has moved it. */
async function commit(
  { database, log }: Databases,
  { place: { schema }, table }: Filling,
  statementTimeoutMs: number,
  work: (tx: Transaction, position: number) => Promise<Reached>,
): Promise<Advanced> {
  const seen = new Seen();
  // One message: between an event and its row are as few round trips as there can be.
  const timeout = trustedSql(`set local statement_timeout = ${Math.round(statementTimeoutMs)}`);
  let reached: Reached | undefined;
  try {
    reached = await database.transaction(
      async (tx) => {
        const row = await tx.maybeOne<{ position: number }>(sql`
          select position from plimsoll.view_table
          where schema_name = ${schema} and table_name = ${table} and state <> 'retired'
          for no key update skip locked`);
        return row === undefined ? undefined : work(tx, row.position);
      },
      { seen, holds: () => timeout },
    );
  } catch (error) {
    if (error instanceof PositionMoved) return { outcome: 'busy' };
    throw error;
  }
  if (reached === undefined) return { outcome: 'busy' };
  // In another database it may be behind, which only keeps events for longer.
  if (log !== database && reached.outcome === 'applied')
    await log.execute(noteReader(readerName(schema, table), reached.position));
  return { ...reached, commit: seen.isUnknown(database.name) ? undefined : seen.mark(database.name) };
}

/** One batch, in a transaction that holds the row of the table. */
export async function applyNext(
  tx: Transaction,
  databases: Databases,
  filling: Filling,
  position: number,
  batch: number,
): Promise<Reached> {
  const { database, log } = databases;
  const { place } = filling;
  const { head, kept, events } = await readEvents(log === database ? tx : log, place.view, position, batch);
  if (head <= position) return { outcome: 'idle', position, head };
  if (!kept) throw historyOver(place, position);
  const upTo = Math.min(head, position + batch);
  if (events.length > 0) await applyEvents(tx, filling, events);
  await movePosition(tx, databases, filling, { from: position, upTo, head });
  return { outcome: 'applied', position: upTo, head };
}

export function historyOver({ schema, view }: PlacedView, position: number): PlimsollError {
  return new PlimsollError(
    'PL_VIEW_HISTORY',
    `view ${schema}.${view.name} version ${view.version} has applied the log up to position ${position}, and the event after it is no longer there; build it again from a baseline`,
    { data: { view: `${schema}.${view.name}`, version: view.version, position } },
  );
}

async function movePosition(
  tx: Transaction,
  { database, log }: Databases,
  { place: { schema }, table }: Filling,
  { from, upTo }: Move,
): Promise<void> {
  const move = sql`
    update plimsoll.view_table set position = ${upTo}, failure = null
    where schema_name = ${schema} and table_name = ${table} and position = ${from} and state <> 'retired'
    returning 1`;
  const told = log === database ? sql`, told as (${noteReader(readerName(schema, table), upTo)})` : sql.empty;
  const moved = await tx.query(sql`with moved as (${move})${told} select 1 from moved`);
  if (moved.length !== 1) throw new PositionMoved(`${schema}.${table} is no longer at position ${from}`);
}

async function applyEvents(
  tx: Transaction,
  { place, table }: Filling,
  events: readonly ReadEvent[],
): Promise<void> {
  const { schema, view } = place;
  const target = tableSql(schema, table);
  if (isFolding(view)) {
    const keyed = keyBatch(view, events);
    const stored = await storedRows(tx, target, view, [...keyed.keys.values()]);
    await writeRows(tx, target, view, foldBatch(view, keyed, stored));
  } else if (view.how.kind === 'apply') {
    await view.how.apply(batchOf(events), { tx, table: target });
  }
}

function batchOf(events: readonly ReadEvent[]): EventBatch {
  return {
    all: events,
    of: (event: ViewEvent) => events.filter(({ type }) => type === event.id) as never,
  };
}
