import { randomUUID } from 'node:crypto';
import type { Database } from '../../src/database/database.ts';
import { sql } from '../../src/database/sql.ts';
import { claimDue } from '../../src/durable/claim.ts';
import { insertTasks, type ClaimedTask } from '../../src/durable/task.ts';
import { createContext, currentContext } from '../../src/kernel/context.ts';
import type { StepCommand } from '../../src/saga/callable.ts';
import { newSaga } from '../../src/saga/new-saga.ts';
import type { AnySaga } from '../../src/saga/saga.ts';
import { sagaTaskHandlers, type SagaRunnerOptions } from '../../src/saga/runner.ts';
import type { RecordStep } from '../../src/saga/step-call.ts';
import { insertSagas } from '../../src/saga/statements.ts';
import { Died, mortal, type Death } from './mortal.ts';
import { program, world, type Op } from './program.ts';

/** What goes wrong with the calls of one key: so many never arrive, so many have their effect and no answer. */
export interface Flaky {
  readonly lost: number;
  readonly unanswered: number;
  /** Whether the effect records the step in its own transaction, and then need not know its key. Default false. */
  readonly recorded?: boolean;
}

export interface Driven {
  readonly database: Database;
  readonly sagas?: SagaRunnerOptions['sagas'];
  readonly flaky?: (key: string) => Flaky;
  readonly stallMs?: number;
  /** Awaited in the transaction of a step that is recorded with its effect, between the two. */
  readonly meanwhile?: (key: string) => Promise<void>;
}

/** Runs sagas turn by turn, by workers that may die at any statement. */
export interface Drive {
  start(ops: readonly Op[], id?: string): Promise<string>;
  /** One task that is due within a minute; false when there is none. */
  readonly turn: (death?: Death) => Promise<boolean>;
  /** How often each key was called. */
  readonly calls: ReadonlyMap<string, number>;
  /** Statements and transactions that its workers have sent. */
  readonly sent: () => number;
}

/** Empties all tables that sagas write; quicker than truncate for the few rows of a test. */
export async function forgetAll(database: Database): Promise<void> {
  for (const table of ['saga', 'saga_step', 'saga_wait', 'task', 'event', 'outbox'])
    await database.execute(sql`delete from ${sql.id('plimsoll', table)}`);
  await database.execute(sql`delete from effect`);
}

/** The effects of the tests: one for each key, whatever its caller believes. */
export const effectTable = sql`create table effect (id int generated always as identity primary key, key text not null unique, what text not null, name text not null)`;

/** Starts a saga as a command would, in a transaction. */
export async function begin(
  database: Database,
  name: string,
  declared: AnySaga,
  input: unknown,
  id: string,
): Promise<string> {
  const { saga, task } = newSaga(createContext(), { name, module: 'world', saga: declared, input, id });
  await database.transaction(async (tx) => {
    await tx.execute(insertSagas([saga]));
    await tx.execute(insertTasks([task]));
  });
  return saga.id;
}

export function driveSagas({
  database,
  flaky = () => ({ lost: 0, unanswered: 0 }),
  sagas,
  stallMs = 10_000,
  meanwhile,
}: Driven): Drive {
  const calls = new Map<string, number>();
  const hosted = sagas ?? new Map([['world.program', { module: 'world', saga: program }]]);
  const commands: readonly StepCommand[] = [world.act, world.undo];
  let worker = 0;
  let sent = 0;

  async function call(
    from: Database,
    command: StepCommand,
    input: unknown,
    record: RecordStep,
  ): Promise<unknown> {
    const { key } = currentContext() ?? createContext();
    const { name, refuse = false } = input as { name: string; refuse?: boolean };
    const made = (calls.get(key) ?? 0) + 1;
    calls.set(key, made);
    const { lost, unanswered, recorded = false } = flaky(key);
    if (made <= lost) throw new Error(`${key} did not arrive`);
    if (refuse) return { ok: false, error: 'Refused', data: { name } };
    const effect = sql`insert into effect (key, what, name) values (${key}, ${command.id}, ${name})`;
    const result = command === world.act ? { ok: true, value: { name } } : undefined;
    if (recorded) {
      await from.transaction(async (tx) => {
        await tx.execute(effect);
        await meanwhile?.(key);
        await record(tx, result);
      });
    } else await database.execute(sql`${effect} on conflict do nothing`);
    if (made <= lost + unanswered) throw new Error(`${key} was not answered`);
    return result;
  }

  return {
    calls,
    sent: () => sent,
    start: (ops, id = randomUUID()) => begin(database, 'world.program', program, { ops }, id),
    async turn(death) {
      await database.execute(
        sql`update plimsoll.task set state = 'ready', run_at = now()
          where state in ('ready', 'scheduled') and run_at < now() + interval '1 minute'`,
      );
      worker += 1;
      const own = mortal(database, death, () => (sent += 1));
      const handlers = sagaTaskHandlers({
        database: own,
        sagas: hosted,
        call: (_module, command, input, record) => call(own, command, input, record),
        commandOf: (id) => commands.find((one) => one.id === id),
        payloadOf: (_event, { payload }) => payload,
        backoff: { baseMs: 1, maxMs: 1 },
        stallMs,
      });
      const [task] = await database.query<ClaimedTask>(claimDue(worker, [...handlers.keys()], 1));
      if (task === undefined) return false;
      try {
        await handlers.get(task.name)?.(task);
      } catch (error) {
        if (!(error instanceof Died)) throw error;
        // As it is taken back from a worker that died.
        await database.execute(
          sql`update plimsoll.task set state = 'ready', worker = null where id = ${task.id} and worker = ${worker}`,
        );
      }
      return true;
    },
  };
}
