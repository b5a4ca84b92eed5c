import type { SharedFill } from '../cache/shared-store.ts';
import type { Answer } from './connection.ts';

/** What is set: the data, and for how many seconds at most. */
export interface Item {
  readonly data: string;
  readonly seconds: number;
}

/** A version and the latest position that it was raised at. */
export interface Slot {
  readonly version: string;
  readonly floor: string;
  /** Seconds until it ends. */
  readonly leftS: number;
}

/** Of more seconds than 30 days Memcached thinks that they are a date. */
const mostSeconds = 2_592_000;

/** Whole seconds, so that nothing ends before its time. */
export const secondsOf = (ms: number): number => Math.min(Math.ceil(ms / 1_000) + 1, mostSeconds);

/**
 * How long ago an item was set. Memcached counts whole seconds, which say it to within one; the wall clocks of who set
 * it and who reads it say it to the millisecond, and are believed as far as they agree with that. So clocks that differ
 * are wrong by a second at most.
 */
export function ageMs(
  set: { readonly seconds: number; readonly atMs: number },
  leftS: number,
  nowMs: number,
): number {
  const passedMs = (set.seconds - leftS) * 1_000;
  return Math.min(Math.max(nowMs - set.atMs, passedMs - 1_000, 0), passedMs + 1_000);
}

export function slotItem({ version, floor, leftS }: Slot): Item {
  return { data: `${version} ${floor}`, seconds: leftS };
}

export function slotOf(answer: Answer | undefined): Slot | undefined {
  if (answer?.code !== 'VA') return undefined;
  const space = answer.data.indexOf(' ');
  return {
    version: answer.data.slice(0, space),
    floor: answer.data.slice(space + 1),
    leftS: leftOf(answer),
  };
}

/** Of the owner, '' when nobody may load as the last load failed. */
export function leaseItem(owner: string, versions: string, forMs: number, nowMs: number): Item {
  const seconds = secondsOf(forMs);
  return { data: JSON.stringify([owner, versions, forMs, seconds, nowMs]), seconds };
}

export function leaseOf(
  answer: Answer | undefined,
  nowMs: number,
): { readonly owner: string; readonly versions: string; readonly leftMs: number } | undefined {
  if (answer?.code !== 'VA') return undefined;
  const [owner, versions, forMs, seconds, atMs] = JSON.parse(answer.data) as Lease;
  return { owner, versions, leftMs: forMs - ageMs({ seconds, atMs }, leftOf(answer), nowMs) };
}

type Lease = readonly [owner: string, versions: string, forMs: number, seconds: number, atMs: number];

type Value = Omit<SharedFill, 'key' | 'tags' | 'versions' | 'owner'> & { readonly versions: string };

type Head = readonly [
  versions: string,
  mark: string,
  freshMs: number,
  keepMs: number,
  costMs: number,
  seconds: number,
  atMs: number,
];

/** A line about it, and then the data as it is. */
export function valueItem({ versions, mark, freshMs, keepMs, costMs, data }: Value, nowMs: number): Item {
  const seconds = secondsOf(keepMs);
  const head: Head = [versions, mark, freshMs, keepMs, costMs, seconds, nowMs];
  return { data: `${JSON.stringify(head)}\n${data}`, seconds };
}

export function valueOf(answer: Answer | undefined, nowMs: number) {
  if (answer?.code !== 'VA') return undefined;
  const end = answer.data.indexOf('\n');
  const [versions, mark, freshMs, keepMs, costMs, seconds, atMs] = JSON.parse(
    answer.data.slice(0, end),
  ) as Head;
  const passedMs = ageMs({ seconds, atMs }, leftOf(answer), nowMs);
  const [freshForMs, keptForMs] = [freshMs - passedMs, keepMs - passedMs];
  return { versions, mark, costMs, freshForMs, keptForMs, data: answer.data.slice(end + 1) };
}

const leftOf = ({ flags }: Answer): number => Number(flags['t']);
