/**
 * How old a row is: every write to a key raises its `version` by one under a row lock, so versions are in the order of
 * the commits. `history` grows with each promotion, and is that of the write; leave it out where there is none.
 */
export interface Version {
  readonly version: number;
  readonly history?: number | undefined;
}

/** Of a key: what its writer had read last, stored with what it wrote. */
export interface Dependency extends Version {
  readonly key: string;
}

/**
 * What a read must hold to. `session`: the session's own writes, what it has read before, and what those who wrote that
 * had read. `ryw`: its own writes only, as a cache shared by processes promises. `eventual`: nothing.
 */
export type ReadLevel = 'session' | 'ryw' | 'eventual';

interface Timed {
  /**
   * When it began and ended, by one clock or counter for the whole history. What ended before another one began comes
   * before it; all else was at the same time. Default: the operations ran one after the other, as listed.
   */
  readonly began?: number;
  readonly ended?: number;
  /** For people: which process, which path. */
  readonly where?: string;
}

export interface ReadOperation extends Timed, Version {
  readonly kind: 'read';
  readonly session: string;
  readonly key: string;
  /** Stored in the row that was read. */
  readonly dependsOn?: Dependency;
  /** Default `session`. */
  readonly level?: ReadLevel;
}

export interface WriteOperation extends Timed {
  readonly kind: 'write';
  readonly session: string;
  readonly key: string;
  /** What the row became; undefined when it is not known whether it was committed: both are allowed then. */
  readonly version: number | undefined;
  readonly history?: number | undefined;
}

/** What `session` has seen when it began is what `to` has seen as well, when it has ended. */
export interface HandOver extends Timed {
  readonly kind: 'hand-over';
  readonly session: string;
  readonly to: string;
}

/** A promotion that lost commits; to be told before anybody writes to the new primary. */
export interface Loss extends Timed {
  readonly kind: 'loss';
  /** Of what is written from now on; above all before. */
  readonly history: number;
  /** The versions that are left, by key; 0 where none is given. */
  readonly survivors: Readonly<Record<string, number>>;
}

export type Operation = ReadOperation | WriteOperation | HandOver | Loss;

/**
 * - `read-your-writes`: a read is not older than what its session wrote to that key before.
 * - `monotonic-reads`: nor than what its session read of that key before.
 * - `writes-follow-reads`: nor than what the writer of a row had read that its session has seen.
 * - `monotonic-writes`: a write comes after what its session has written or read of that key.
 * - `one-history`: who has seen something of the history after a promotion is shown nothing that it lost.
 */
export type Guarantee =
  | 'read-your-writes'
  | 'monotonic-reads'
  | 'writes-follow-reads'
  | 'monotonic-writes'
  | 'one-history';

export const guarantees: readonly Guarantee[] = [
  'read-your-writes',
  'monotonic-reads',
  'writes-follow-reads',
  'monotonic-writes',
  'one-history',
];

/** A promise that was broken by one operation. */
export interface Violation {
  readonly guarantee: Guarantee;
  readonly session: string;
  readonly key: string;
  /** At least this was to be read; a write was to come after it. */
  readonly expected: Version;
  readonly got: Version;
  readonly began: number;
  readonly ended: number;
  readonly where: string | undefined;
  /** What the session did last before it, oldest first. */
  readonly before: readonly string[];
}

export function describeVersion({ version, history }: Version): string {
  return history === undefined ? `version ${version}` : `version ${version} of history ${history}`;
}

/** One line, and what the session did before it in further ones. */
export function describeViolation(violation: Violation): string {
  const { guarantee, session, key, expected, got, began, ended, where, before } = violation;
  const least = guarantee === 'monotonic-writes' ? 'above' : 'at least';
  const line = `${guarantee}: session ${session}, key ${key}: expected ${least} ${describeVersion(expected)}, got ${describeVersion(got)} (from ${began} to ${ended}${where === undefined ? '' : `, ${where}`})`;
  return [line, ...before.map((each) => `    before: ${each}`)].join('\n');
}
