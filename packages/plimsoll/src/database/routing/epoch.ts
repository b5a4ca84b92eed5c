import { createHash } from 'node:crypto';
import { sqlState } from '../failures.ts';
import { columnsOf, primaryColumns, readPrimary, segmentColumn, type PrimaryPosition } from './position.ts';

/** The history of the log that a primary writes. */
export interface Epoch {
  /** `<timeline>.<id>`, as in causality tokens. */
  readonly text: string;
  readonly timeline: number;
  /** Of the row in `plimsoll.epoch`; undefined where there is no such table, or nobody may write it. */
  readonly rowId: string | undefined;
}

/** What a primary answered, and the epoch that its position belongs to. */
export interface Learned {
  readonly epoch: Epoch;
  readonly position: PrimaryPosition;
  readonly segmentBytes: bigint;
}

/** Sends one statement and answers its only row. */
export type AskRow = (text: string) => Promise<unknown>;

const describePrimary = `select ${primaryColumns}, ${segmentColumn}, (select system_identifier::text from pg_control_system()) as system,
  to_regclass('plimsoll.epoch') is not null as has_table`;

/** `pg` sends numbers that we made ourselves; nothing here comes from outside. */
const claim = (system: string, timeline: number): string => `
  with claimed as (
    insert into plimsoll.epoch (system, timeline, id) values ('${system}', ${timeline}, gen_random_uuid())
    on conflict (single) do update set system = excluded.system, timeline = excluded.timeline, id = excluded.id
      where (epoch.system, epoch.timeline) is distinct from (excluded.system, excluded.timeline)
    returning id
  )
  select id::text from claimed`;
const readRow = `select system, timeline, id::text from plimsoll.epoch`;

/**
 * Asks a primary which history it writes. Undefined when it is a standby. A row that describes another history, from
 * before a promotion or from a copy of another cluster, is replaced; of two who do so at once, one wins.
 */
export async function learnEpoch(ask: AskRow): Promise<Learned | undefined> {
  const row = await ask(describePrimary);
  const [, segment, system, hasTable] = columnsOf(row);
  const segmentBytes = BigInt(String(segment));
  const position = readPrimary(row, segmentBytes);
  if (position === undefined) return undefined;
  const rowId = hasTable === true ? await rowOf(ask, String(system), position.timeline) : undefined;
  return { epoch: epochOf(String(system), position.timeline, rowId), position, segmentBytes };
}

async function rowOf(ask: AskRow, system: string, timeline: number): Promise<string | undefined> {
  try {
    const [knownSystem, knownTimeline, id] = columnsOf(await ask(readRow));
    if (knownSystem === system && knownTimeline === timeline) return String(id);
    const [claimed] = columnsOf(await ask(claim(system, timeline)));
    if (typeof claimed === 'string') return claimed;
    const [, now, others] = columnsOf(await ask(readRow));
    return now === timeline ? String(others) : undefined;
  } catch (error) {
    // No privilege, no table, or a session that cannot write: then positions alone must do.
    if (/^(42|25)/.test(sqlState(error) ?? '')) return undefined;
    throw error;
  }
}

/** Without a row it sorts before every epoch that has one. */
export function epochOf(system: string, timeline: number, rowId: string | undefined): Epoch {
  const digest = createHash('sha256')
    .update(`${system}/${rowId ?? ''}`)
    .digest('hex')
    .slice(0, 16);
  return { text: `${timeline}.${rowId === undefined ? '-' : ''}${digest}`, timeline, rowId };
}
