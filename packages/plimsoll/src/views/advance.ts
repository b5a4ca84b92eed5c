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

/** What one batch came to. `busy`: somebody else is filling the table, or it is no longer filled. */
export type Advanced =
  | { readonly outcome: 'busy' }
  | {
      readonly outcome: 'applied' | 'idle';
      /** Of the rows, now. */
      readonly position: number;
      /** Of the log, when it was looked at. */
      readonly head: number;
      /** Where the rows are in the log of their database: whoever reads there sees them. */
      readonly commit: Mark | undefined;
    };

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
  const { database, log } = databases;
  const { schema } = filling.place;
  const seen = new Seen();
  // One message: between an event and its row are as few round trips as there can be.
  const timeout = trustedSql(`set local statement_timeout = ${Math.round(statementTimeoutMs)}`);
  // Where the table was found, under its lock.
  let from: number | undefined;
  try {
    const advanced = await database.transaction(
      async (tx) => {
        const row = await tx.maybeOne<{ position: number }>(sql`
          select position from plimsoll.view_table
          where schema_name = ${schema} and table_name = ${filling.table} and state <> 'retired'
          for no key update skip locked`);
        if (row === undefined) return undefined;
        from = row.position;
        return applyNext(tx, databases, filling, row.position, batch);
      },
      { seen, holds: () => timeout },
    );
    if (advanced === undefined) return { outcome: 'busy' };
    // In another database it may be behind, which only keeps events for longer.
    if (log !== database && advanced.outcome === 'applied')
      await log.execute(noteReader(readerName(schema, filling.table), advanced.position));
    return { ...advanced, commit: seen.isUnknown(database.name) ? undefined : seen.mark(database.name) };
  } catch (error) {
    if (error instanceof PositionMoved) return { outcome: 'busy' };
    const isAlone = batch === 1 || isPlimsollError(error, 'PL_VIEW_HISTORY');
    if (from !== undefined && isAlone && !isOfDatabase(error))
      await noteFailure(database, schema, filling.table, from, error).catch(() => undefined);
    throw error;
  }
}

/** One batch, in a transaction that holds the row of the table. */
export async function applyNext(
  tx: Transaction,
  { database, log }: Databases,
  { place, table }: Filling,
  position: number,
  batch: number,
): Promise<{ readonly outcome: 'applied' | 'idle'; readonly position: number; readonly head: number }> {
  const { schema, view } = place;
  const { head, kept, events } = await readEvents(log === database ? tx : log, view, position, batch);
  if (head <= position) return { outcome: 'idle', position, head };
  if (!kept)
    throw new PlimsollError(
      'PL_VIEW_HISTORY',
      `view ${schema}.${view.name} version ${view.version} has applied the log up to position ${position}, and the event after it is no longer there; build it again from a baseline`,
      { data: { view: `${schema}.${view.name}`, version: view.version, position } },
    );
  const upTo = Math.min(head, position + batch);
  if (events.length > 0) await applyEvents(tx, { place, table }, events);
  const move = sql`
    update plimsoll.view_table set position = ${upTo}, failure = null
    where schema_name = ${schema} and table_name = ${table} and position = ${position} and state <> 'retired'
    returning 1`;
  const told = log === database ? sql`, told as (${noteReader(readerName(schema, table), upTo)})` : sql.empty;
  const moved = await tx.query(sql`with moved as (${move})${told} select 1 from moved`);
  if (moved.length !== 1) throw new PositionMoved(`${schema}.${table} is no longer at position ${position}`);
  return { outcome: 'applied', position: upTo, head };
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
