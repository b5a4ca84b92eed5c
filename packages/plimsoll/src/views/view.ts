import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import type { Upcasters } from '../outbox/event-versions.ts';
import { isColumn, isKeyColumn, valueProblem, type Columns, type KeyColumns, type Row } from './columns.ts';

/** What of an event of a contract a view needs. */
export interface ViewEvent<P extends StandardSchemaV1 = StandardSchemaV1> {
  readonly kind: 'event';
  readonly id: string;
  readonly contract: string;
  readonly version: number;
  readonly upcast: Upcasters;
  readonly payload: P;
}
type Payload<P extends StandardSchemaV1> = StandardSchemaV1.InferOutput<P>;

/** An event as it stands in the log, besides its payload. */
export interface LoggedEvent {
  readonly id: string;
  /** Its place in the log: each event has been applied before those with a higher one. */
  readonly position: number;
  readonly type: string;
  readonly key: string | null;
  /** When it was written. */
  readonly at: Date;
  readonly correlationId: string;
  /** Whether a person's data was taken out of its payload; what is left matches the schema all the same. */
  readonly erased: boolean;
}

/** An event that has been read: of an older version as its contract has it now, validated. */
export interface ReadEvent extends LoggedEvent {
  readonly payload: unknown;
}

/** How one kind of event changes rows. */
export interface FoldStep {
  readonly event: ViewEvent;
  readonly key: (payload: never, event: LoggedEvent) => unknown;
  readonly step: (state: never, payload: never, event: LoggedEvent, key: never) => unknown;
}

/**
 * `on(event, key, step)`: `key` says which row, or rows, the event is about, or undefined for none; `step` gives the new
 * state of each from the one before it, which is `initial` for a row that is not there. With null the row goes. Both
 * must be pure: the same events give the same rows, whenever and wherever they are applied again.
 */
export type On<K extends KeyColumns, C extends Columns> = <P extends StandardSchemaV1>(
  event: ViewEvent<P>,
  key: (payload: Payload<P>, event: LoggedEvent) => Row<K> | readonly Row<K>[] | undefined,
  step: (state: Row<C>, payload: Payload<P>, event: LoggedEvent, key: Row<K>) => Row<C> | null,
) => FoldStep;

/** The events of one batch in the order of the log. */
export interface EventBatch {
  readonly all: readonly ReadEvent[];
  /** Those of one kind. */
  of<P extends StandardSchemaV1>(
    event: ViewEvent<P>,
  ): readonly (LoggedEvent & { readonly payload: Payload<P> })[];
}

export interface Applying {
  /** Of the rows and of the position; ends soon, so only statements belong here. */
  readonly tx: Pick<Transaction, 'query' | 'one' | 'maybeOne' | 'execute'>;
  /** The table to write, quoted: a version that is being built has its own. */
  readonly table: Sql;
}
export type Apply = (batch: EventBatch, applying: Applying) => Promise<void>;

interface Common<K extends KeyColumns, C extends Columns> {
  /** Raised when rows would come out differently: a new table is then built beside the one that is read. */
  readonly version: number;
  /** What tells rows apart: the primary key. */
  readonly key: K;
  /** The other columns. */
  readonly columns: C;
  /** Besides the key: `[['customer', 'status']]`. Default none. */
  readonly indexes?: readonly (readonly (keyof (K & C) & string)[])[];
  /**
   * Whether the log keeps every event, so that the view can be built again from the first. With `release` the log may
   * drop what the view has applied, and a new version begins with the rows of the one before: see `baseline`. Default
   * `keep`.
   */
  readonly history?: 'keep' | 'release';
  /**
   * The rows that a new version begins with, from those of the live table, where the log does not reach back: a query
   * that answers the columns of this version by name. Default none.
   */
  readonly baseline?: (live: Sql) => Sql;
}

export type ViewDefinition<K extends KeyColumns, C extends Columns> = Common<K, C> &
  (
    | {
        /** Of a row that is not there. */
        readonly initial: Row<NoInfer<C>>;
        readonly fold: (on: On<NoInfer<K>, NoInfer<C>>) => readonly FoldStep[];
        readonly events?: never;
        readonly apply?: never;
      }
    | {
        /** The events that `apply` is given. */
        readonly events: readonly ViewEvent[];
        /** Writes a batch by statements of its own; at best one for all events, as each is a round trip. */
        readonly apply: Apply;
        readonly initial?: never;
        readonly fold?: never;
      }
  );

/** A read model: rows built from events and from nothing else. */
export interface View {
  readonly kind: 'view';
  readonly name: string;
  readonly version: number;
  readonly key: KeyColumns;
  readonly columns: Columns;
  readonly indexes: readonly (readonly string[])[];
  readonly history: 'keep' | 'release';
  readonly baseline: ((live: Sql) => Sql) | undefined;
  /** By their ids. */
  readonly events: ReadonlyMap<string, ViewEvent>;
  readonly how:
    | {
        readonly kind: 'fold';
        readonly initial: Readonly<Record<string, unknown>>;
        readonly steps: ReadonlyMap<string, readonly FoldStep[]>;
      }
    | { readonly kind: 'apply'; readonly apply: Apply };
}

/** Of tables and columns, so that nobody has to quote them; short enough for the suffix of a version. */
const identifier = /^[a-z][a-z0-9_]{0,47}$/;

/** Declares a view. PL_CONFIG with every problem of the declaration. */
export function view<const K extends KeyColumns, const C extends Columns>(
  name: string,
  definition: ViewDefinition<K, C>,
): View {
  const { version, key, columns, indexes = [], history = 'keep', baseline } = definition;
  const steps = definition.fold?.((event, keyOf, step) => ({ event, key: keyOf, step })) ?? [];
  const events = definition.fold === undefined ? definition.events : steps.map(({ event }) => event);
  throwIfProblems(`view ${JSON.stringify(name)}`, [
    ...shapeProblems(name, version, key, columns, indexes),
    ...(definition.fold === undefined ? [] : initialProblems(columns, definition.initial)),
    ...eventProblems(events),
  ]);
  const byEvent = new Map<string, FoldStep[]>();
  for (const step of steps) byEvent.set(step.event.id, [...(byEvent.get(step.event.id) ?? []), step]);
  return {
    kind: 'view',
    name,
    version,
    key,
    columns,
    indexes,
    history,
    baseline,
    events: new Map(events.map((event) => [event.id, event])),
    how:
      definition.fold === undefined
        ? { kind: 'apply', apply: definition.apply }
        : { kind: 'fold', initial: definition.initial, steps: byEvent },
  };
}

function shapeProblems(
  name: string,
  version: number,
  key: KeyColumns,
  columns: Columns,
  indexes: readonly (readonly string[])[],
): Problem[] {
  const problems: Problem[] = [];
  const add = (path: string, message: string): void => void problems.push({ path, message });
  const named = (path: string, given: string): void => {
    if (!identifier.test(given))
      add(path, `is ${JSON.stringify(given)}; want lower-case letters, digits and _, at most 48 of them`);
  };
  named('name', name);
  if (!Number.isInteger(version) || version < 1) add('version', `is ${version}; want a whole number from 1`);
  if (Object.keys(key).length === 0) add('key', 'is empty; name at least one column');
  for (const [column, type] of Object.entries(key)) {
    named(`key.${column}`, column);
    if (!isKeyColumn(type))
      add(`key.${column}`, `is ${JSON.stringify(type)}; want "text", "uuid", "int" or "bigint"`);
    if (Object.hasOwn(columns, column)) add(`columns.${column}`, 'is in the key already');
  }
  for (const [column, type] of Object.entries(columns)) {
    named(`columns.${column}`, column);
    if (!isColumn(type)) add(`columns.${column}`, `is ${JSON.stringify(type)}, which is no type of a column`);
  }
  for (const [index, list] of indexes.entries()) {
    if (list.length === 0) add(`indexes[${index}]`, 'is empty');
    for (const column of list)
      if (!Object.hasOwn(key, column) && !Object.hasOwn(columns, column))
        add(`indexes[${index}]`, `names ${JSON.stringify(column)}, which is no column of the view`);
  }
  return problems;
}

function initialProblems(columns: Columns, initial: Readonly<Record<string, unknown>>): Problem[] {
  return Object.entries(columns).flatMap(([column, type]) => {
    const message = isColumn(type) ? valueProblem(type, initial[column]) : undefined;
    return message === undefined ? [] : [{ path: `initial.${column}`, message }];
  });
}

function eventProblems(events: readonly ViewEvent[]): Problem[] {
  if (events.length === 0) return [{ path: 'events', message: 'there is none; a view is made of events' }];
  const known = new Map<string, ViewEvent>();
  return events.flatMap((event) => {
    const other = known.get(event.id) ?? event;
    known.set(event.id, other);
    return other === event
      ? []
      : [{ path: 'events', message: `${event.id} is of two contracts of one name; import the same one` }];
  });
}
