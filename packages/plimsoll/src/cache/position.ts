import type { Lsn } from '../kernel/seen.ts';

/** A point in the history of one database. */
export interface Position {
  /** As of the causality token: `<timeline>.<id>`. */
  readonly epoch: string;
  readonly lsn: Lsn;
}

/**
 * A position as text that sorts as positions do: the timeline, the id of the history, the log position. Stores compare
 * it without knowing what it is.
 */
export type Mark = string;

/** Before every position. */
export const noMark: Mark = '';

export function markOf({ epoch, lsn }: Position): Mark {
  const dot = epoch.indexOf('.');
  const timeline = Number.parseInt(epoch, 10).toString(16).padStart(8, '0');
  return `${timeline}.${dot === -1 ? '' : epoch.slice(dot + 1)}:${lsn.toString(16).padStart(16, '0')}`;
}

/** Undefined for {@link noMark}. */
export function positionOf(mark: Mark): Position | undefined {
  if (mark === noMark) return undefined;
  const colon = mark.lastIndexOf(':');
  const timeline = Number.parseInt(mark.slice(0, 8), 16);
  return { epoch: `${timeline}.${mark.slice(9, colon)}`, lsn: BigInt(`0x${mark.slice(colon + 1)}`) };
}

export const laterMark = (one: Mark, other: Mark): Mark => (one > other ? one : other);
