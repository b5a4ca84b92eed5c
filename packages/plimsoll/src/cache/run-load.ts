import { createContext, currentContext, runInContext } from '../kernel/context.ts';
import { Seen } from '../kernel/seen.ts';
import { settleSoon } from '../kernel/settle-seen.ts';
import type { Flight } from './flight.ts';
import type { Load, Loading } from './policy.ts';
import type { Readers } from './readers.ts';
import { laterMark, markOf, noMark, positionOf, type Mark } from './position.ts';

/**
 * Calls the loader for all who wait, in a context of its own: it ends with none of them, knows the identity of none,
 * and has seen exactly what its value must reflect, so that what it reads through a router is at or past that.
 */
export async function runLoad(flight: Flight, load: Load<unknown>, readers: Readers): Promise<unknown> {
  const loading: Loading = {
    key: flight.key,
    get signal() {
      return flight.signal;
    },
    atLeast: positionOf(flight.atLeast),
    reflect(position) {
      flight.reflected = laterMark(flight.reflected ?? noMark, markOf(position));
    },
  };
  const above = currentContext();
  const seen = seenOf(readers.database, flight.atLeast);
  const context = createContext({
    correlationId: above?.correlationId,
    seen,
    ...(above?.operation === undefined ? {} : { path: [above.operation] }),
  });
  const value = await runInContext(context, () => load(loading));
  if (seen.owes) await settleSoon(seen);
  const mark = seen.mark(readers.nameIn(seen));
  if (mark !== undefined && mark.read > 0n) flight.shown = { epoch: mark.epoch, lsn: mark.read };
  return value;
}

function seenOf(database: string, mark: Mark): Seen {
  const seen = new Seen();
  const position = positionOf(mark);
  if (position !== undefined) seen.noteWritten(database, position.epoch, position.lsn);
  return seen;
}
