import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { jsonCopy } from '../kernel/json-copy.ts';
import { validate } from '../kernel/validate.ts';
import type { AnyCommand } from './contract.ts';
import { erasedError } from './erased-error.ts';
import type { Unerased } from './unerased.ts';

interface JobRow {
  readonly id: string;
  readonly name: string;
  readonly payload: unknown;
}

type Change =
  | { readonly is: 'of another' }
  | { readonly is: 'erased'; readonly payload: unknown }
  | { readonly is: 'left'; readonly why: string };

const batch = 500;
const first = '00000000-0000-0000-0000-000000000000';

/**
 * The inputs of jobs that have not ended, parked ones too, of commands that say whose they are. Every such job is read:
 * whose it is only its command can tell. One whose input it cannot read may be the subject's, and is told.
 */
export async function eraseJobs(
  database: Database,
  declared: readonly AnyCommand[],
  subject: string,
): Promise<{ readonly erased: number; readonly left: readonly Unerased[] }> {
  const byName = new Map(
    declared.flatMap((command) => (command.personal === undefined ? [] : [[command.id, command] as const])),
  );
  const left = new Map<string, Unerased>();
  let erased = 0;
  let after = first;
  while (byName.size > 0) {
    const rows = await database.query<JobRow>(sql`
      select id::text, name, payload from plimsoll.task t
      where kind = 'job' and name = any(${[...byName.keys()]}) and id > ${after}::uuid order by t.id limit ${batch}`);
    const changes: object[] = [];
    for (const { id, name, payload } of rows) {
      const change = await withoutPerson(byName.get(name), payload, subject);
      if (change.is === 'erased') changes.push({ id, before: payload, payload: change.payload });
      if (change.is !== 'left') continue;
      left.set(name, { kind: 'job', name, count: (left.get(name)?.count ?? 0) + 1, why: change.why });
    }
    // Another input may have taken its place, of a job that is there once.
    if (changes.length > 0)
      erased += await database.execute(sql`
        update plimsoll.task t set payload = c->'payload', progress = null, last_error = ${erasedError(sql`t.last_error`)}
        from jsonb_array_elements(${sql.json(changes)}) c
        where t.id = (c->>'id')::uuid and t.payload = c->'before' and t.payload <> c->'payload'`);
    if (rows.length < batch) break;
    after = rows.at(-1)?.id ?? after;
  }
  return { erased, left: [...left.values()] };
}

async function withoutPerson(
  command: AnyCommand | undefined,
  payload: unknown,
  subject: string,
): Promise<Change> {
  if (command?.personal === undefined) return { is: 'of another' };
  const what = `input of job ${command.id}`;
  try {
    const input: unknown = await validate(command.input, payload, 'PL_INPUT_INVALID', what);
    if (command.personal.subject(input) !== subject) return { is: 'of another' };
    const without = jsonCopy(command.personal.erase(payload), `${what}, without its personal data`);
    await validate(command.input, without, 'PL_INPUT_INVALID', `${what}, without its personal data`);
    return { is: 'erased', payload: without ?? null };
  } catch (error) {
    if (isPlimsollError(error)) return { is: 'left', why: error.message };
    return { is: 'left', why: `${what}: its personal.subject or personal.erase threw: ${String(error)}` };
  }
}
