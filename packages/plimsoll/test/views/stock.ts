import { z } from 'zod';
import type { Database } from '../../src/database/database.ts';
import { sql } from '../../src/database/sql.ts';
import { createContext } from '../../src/kernel/context.ts';
import { contract, event, type AnyEvent } from '../../src/modules/contract.ts';
import { insertEvents } from '../../src/outbox/events.ts';
import { newEvent } from '../../src/outbox/new-event.ts';
import type { Row } from '../../src/views/columns.ts';
import { view, type View } from '../../src/views/view.ts';

const line = z.object({ sku: z.string(), count: z.int() });

export const stock = contract('stock', {
  received: event({
    payload: line.extend({ place: z.string() }),
    version: 2,
    // Version 1 knew one place only.
    upcast: { 1: (old) => ({ ...(old as z.infer<typeof line>), place: 'main' }) },
  }),
  shipped: event({ payload: z.object({ lines: z.array(line) }) }),
  gone: event({ payload: z.object({ sku: z.string() }) }),
  looked: event({ payload: z.object({}) }),
});

const columns = { count: 'int', moves: 'bigint', last: 'timestamptz?', places: 'jsonb' } as const;

/** Of each article: how many there are, what moved it, when last, and where it was received. */
export function levels(name: string, version = 1): View {
  return view(name, {
    version,
    key: { sku: 'text' },
    columns,
    initial: { count: 0, moves: 0, last: null, places: {} },
    fold: (on) => [
      on(
        stock.received,
        ({ sku }) => ({ sku }),
        (level, { count, place }, { at }) => ({
          count: level.count + count * version,
          moves: level.moves + 1,
          last: at,
          places: { ...(level.places as object), [place]: true },
        }),
      ),
      on(
        stock.shipped,
        ({ lines }) => lines.map(({ sku }) => ({ sku })),
        (level, { lines }, _event, { sku }) => ({
          ...level,
          moves: level.moves + 1,
          count:
            level.count -
            version * lines.filter((each) => each.sku === sku).reduce((sum, { count }) => sum + count, 0),
        }),
      ),
      on(
        stock.gone,
        ({ sku }) => ({ sku }),
        () => null,
      ),
    ],
  });
}

export type Level = { readonly sku: string } & Row<typeof columns>;

export type Happening =
  | { readonly type: 'received'; readonly sku: string; readonly count: number; readonly place: string }
  | { readonly type: 'old'; readonly sku: string; readonly count: number }
  | { readonly type: 'shipped'; readonly lines: readonly { readonly sku: string; readonly count: number }[] }
  | { readonly type: 'gone'; readonly sku: string }
  | { readonly type: 'looked' };

const eventOf: Readonly<Record<Happening['type'], AnyEvent>> = {
  received: stock.received,
  old: stock.received,
  shipped: stock.shipped,
  gone: stock.gone,
  looked: stock.looked,
};

/** What inserts the events; those of type `old` as version 1 of the contract wrote them. */
export function happening(list: readonly Happening[]) {
  return insertEvents(
    list.map(({ type, ...payload }) =>
      type === 'old'
        ? {
            ...newEvent(createContext(), stock.received, { ...payload, place: '' } as never),
            version: 1,
            payload,
          }
        : newEvent(createContext(), eventOf[type], payload as never),
    ),
  );
}

/** What the whole log makes of the view, one event after the other, by other code than the view's. */
export async function expectedLevels(log: Database, factor = 1): Promise<Level[]> {
  const events = await log.query<{ type: string; version: number; at: Date; payload: never }>(
    sql`select type, version, at, payload from plimsoll.event order by position`,
  );
  const rows = new Map<string, { count: number; moves: number; last: Date | null; places: Set<string> }>();
  const of = (sku: string) => {
    const row = rows.get(sku) ?? { count: 0, moves: 0, last: null, places: new Set<string>() };
    rows.set(sku, row);
    return row;
  };
  for (const { type, at, payload } of events) {
    if (type === 'stock.received') {
      const { sku, count, place = 'main' } = payload as { sku: string; count: number; place?: string };
      const row = of(sku);
      row.count += count * factor;
      row.moves += 1;
      row.last = at;
      row.places.add(place);
    } else if (type === 'stock.shipped') {
      // The step runs once for each line, and takes all lines of its article each time.
      const { lines } = payload as { lines: { sku: string; count: number }[] };
      for (const { sku } of lines) {
        const row = of(sku);
        row.moves += 1;
        for (const each of lines) if (each.sku === sku) row.count -= each.count * factor;
      }
    } else if (type === 'stock.gone') rows.delete((payload as { sku: string }).sku);
  }
  return [...rows]
    .map(([sku, { places, ...row }]) => ({
      sku,
      ...row,
      places: Object.fromEntries([...places].map((place) => [place, true])),
    }))
    .toSorted((a, b) => (a.sku < b.sku ? -1 : 1));
}

export async function storedLevels(database: Database, schema: string, name: string): Promise<Level[]> {
  const rows = await database.query<Level>(sql`select * from ${sql.id(schema, name)}`);
  return rows.toSorted((a, b) => (a.sku < b.sku ? -1 : 1));
}
