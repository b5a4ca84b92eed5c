import { PlimsollError } from '../kernel/errors.ts';
import { asStored, typeOf, valueProblem, type Columns } from './columns.ts';
import type { FoldStep, ReadEvent, View } from './view.ts';

export type Values = Readonly<Record<string, unknown>>;
export type FoldingView = View & { readonly how: { readonly kind: 'fold' } };

/** What a batch makes of the rows that it is about. */
export interface FoldedRow {
  readonly id: string;
  readonly key: Values;
  /** Null: there is no such row any more. */
  readonly state: Values | null;
}

/** One step to make, and the row that it is about. */
interface KeyedStep {
  readonly step: FoldStep['step'];
  readonly event: ReadEvent;
  readonly key: Values;
  readonly id: string;
}

/** Steps in the order of the log, and the rows that they need. */
export interface KeyedBatch {
  readonly steps: readonly KeyedStep[];
  /** By their ids. */
  readonly keys: ReadonlyMap<string, Values>;
}

export function isFolding(view: View): view is FoldingView {
  return view.how.kind === 'fold';
}

/** Tells rows apart. */
export function rowId(view: View, row: Values): string {
  return JSON.stringify(Object.keys(view.key).map((column) => row[column]));
}

/** Which rows the events of a batch are about. */
export function keyBatch(view: FoldingView, events: readonly ReadEvent[]): KeyedBatch {
  const steps: KeyedStep[] = [];
  const keys = new Map<string, Values>();
  for (const event of events) {
    for (const { key: keyOf, step } of view.how.steps.get(event.type) ?? []) {
      for (const given of listOf(keyOf(event.payload as never, event))) {
        const key = checked(view, event, 'key', view.key, given);
        const id = rowId(view, key);
        keys.set(id, key);
        steps.push({ step, event, key, id });
      }
    }
  }
  return { steps, keys };
}

/** The rows as they are after the batch, from those that are stored; null is as good as none. */
export function foldBatch(
  view: FoldingView,
  { steps, keys }: KeyedBatch,
  stored: ReadonlyMap<string, Values | null>,
): readonly FoldedRow[] {
  const states = new Map<string, Values | null>();
  for (const { step, event, key, id } of steps) {
    const known = states.get(id);
    const before = known === undefined ? stored.get(id) : known;
    const next = step((before ?? view.how.initial) as never, event.payload as never, event, key as never);
    states.set(id, next === null ? null : checked(view, event, 'state', view.columns, next));
  }
  return [...states].map(([id, state]) => ({ id, key: keys.get(id) as Values, state }));
}

const listOf = (given: unknown): readonly unknown[] => {
  if (given === undefined) return [];
  return Array.isArray(given) ? given : [given];
};

/** Exactly the columns, as they will come back from the table. */
function checked(
  view: View,
  event: ReadEvent,
  what: 'key' | 'state',
  columns: Columns,
  given: unknown,
): Values {
  const where = `view ${view.name} version ${view.version}, event ${event.id} (${event.type}) at position ${event.position}`;
  if (typeof given !== 'object' || given === null)
    throw invalid(
      where,
      `its ${what} is ${JSON.stringify(given) ?? typeof given}; give an object of ${Object.keys(columns).join(', ')}`,
    );
  const values = given as Values;
  const row: Record<string, unknown> = {};
  for (const [name, column] of Object.entries(columns)) {
    const value = typeOf(column) === 'uuid' ? asStored(column, values[name]) : values[name];
    const problem = valueProblem(column, value);
    if (problem !== undefined) throw invalid(where, `${name} of its ${what} ${problem}`);
    row[name] = typeOf(column) === 'jsonb' ? asStored(column, value) : value;
  }
  return row;
}

function invalid(where: string, message: string): PlimsollError {
  return new PlimsollError('PL_VIEW_VALUE', `${where}: ${message}`);
}
