import type { RequestContext } from '../kernel/context.ts';
import { noMark, markOf, type Mark } from './position.ts';

/** What the one who reads may be answered with. */
export interface Reader {
  /** Nothing that is kept will do: decisions rest on it, or it is not known what has been written. */
  readonly mustLoad: boolean;
  /** What its own writes to these tags ask for. */
  readonly need: Mark;
}

const anybody: Reader = { mustLoad: false, need: noMark };

/** Whether any value that is kept will do, without looking at its tags: so it is of nearly all readers. */
export function takesAnything(context: RequestContext, database: string): boolean {
  return !context.strong && context.seen.mark(database) === undefined;
}

export function readerOf(
  context: RequestContext | undefined,
  database: string,
  tags: readonly string[],
  inCommands: 'load' | 'cached',
): Reader {
  if (context === undefined) return anybody;
  const { seen, strong } = context;
  if ((strong && inCommands === 'load') || seen.isUnknown(database)) return { mustLoad: true, need: noMark };
  const mark = seen.mark(database);
  if (mark === undefined) return anybody;
  const lsn = seen.tagFloor(database, tags);
  return { mustLoad: false, need: lsn === 0n ? noMark : markOf({ epoch: mark.epoch, lsn }) };
}
