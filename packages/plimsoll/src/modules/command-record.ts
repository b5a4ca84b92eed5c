import type { Database } from '../database/database.ts';
import type { Sql } from '../database/sql.ts';
import { fingerprintOf } from '../idempotency/fingerprint.ts';
import { AlreadyDone, clientOf, KeyTaken, type KeyedWork } from '../idempotency/keyed-work.ts';
import { numberProblems, Records, type KeyOpening, type RecordOptions } from '../idempotency/records.ts';
import type { RequestContext } from '../kernel/context.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import { jsonCopy } from '../kernel/json-copy.ts';

export interface CommandRecordOptions extends RecordOptions {
  /**
   * How long a call made by work that may be tried again is known: by a job, a delivery, a step of a saga. Longer than such
   * work may stay parked. Default 7 days.
   */
  readonly keepWorkMs?: number;
}

export const commandRecordDefaults = { keepWorkMs: 7 * 86_400_000 } as const;

/** Longer for each call below another: what a replay calls again before it finds its own answer is known still. */
const keptLongerMs = 600_000;

/** What a command gave, before its schemas have transformed it. */
export type CommandAnswer =
  | { readonly value?: unknown }
  | { readonly error: string; readonly data?: unknown };

/** Makes the record of a command; undefined where its key is its own, so that it cannot come again. */
export type RecordOf = (
  operation: string,
  input: unknown,
  context: RequestContext,
  /** Whose personal data the answer holds. */
  subject: string | undefined,
) => CommandRecord | undefined;

export function createCommandRecords(database: Database, options: CommandRecordOptions = {}): RecordOf {
  throwIfProblems('idempotency', commandRecordProblems(options));
  const { keepWorkMs = commandRecordDefaults.keepWorkMs } = options;
  const records = new Records(database, options);
  return (operation, input, context, subject) => {
    if (!context.keyIsStable) return undefined;
    const { caller, key, causationId, path } = context;
    const work = {
      scope: operation,
      client: clientOf(caller),
      key,
      fingerprint: fingerprintOf(jsonCopy(input, `input of ${operation}`)),
      subject,
    };
    const isOutside = causationId === undefined;
    const keepMs = (isOutside ? records.keepMs : keepWorkMs) + path.length * keptLongerMs;
    return new CommandRecord(database, records, work, { keepMs, failures: isOutside && path.length === 1 });
  };
}

export function commandRecordProblems(options: CommandRecordOptions): readonly Problem[] {
  return numberProblems(options, ['keepMs', 'maxAnswerBytes', 'keepWorkMs']);
}

interface Keeping {
  readonly keepMs: number;
  /**
   * Whether a declared failure is recorded: for whoever sent the key, who gets the same answer. Work of ours that is
   * tried again asks anew, for that is what it is tried again for; the failure had no effect.
   */
  readonly failures: boolean;
}

/** One command under a key that may come again: its answer is recorded with its effect, or was before. */
export class CommandRecord {
  /** For the transaction of the command. */
  readonly opening: KeyOpening;
  readonly #database: Database;
  readonly #records: Records;
  readonly #work: KeyedWork;
  readonly #keeping: Keeping;

  constructor(database: Database, records: Records, work: KeyedWork, keeping: Keeping) {
    this.opening = records.opening(work);
    this.#database = database;
    this.#records = records;
    this.#work = work;
    this.#keeping = keeping;
  }

  /** To be written with the effect. */
  recording(answer: CommandAnswer): Sql {
    return this.#records.recording(this.#work, answer, this.#keeping.keepMs);
  }

  /**
   * Of a declared failure, whose transaction was rolled back: what was recorded before, else undefined, and then it
   * is recorded now where failures are.
   */
  async failed(answer: CommandAnswer): Promise<CommandAnswer | undefined> {
    const { isAsked, refused } = this.opening;
    if (refused !== undefined) return answerIn(refused);
    if (!this.#keeping.failures) {
      const known = isAsked ? undefined : await this.#records.refusalOf(this.#work);
      return known === undefined ? undefined : answerIn(known);
    }
    if ((await this.#database.execute(this.recording(answer))) === 1) return undefined;
    return this.settle(new KeyTaken());
  }

  /**
   * What was recorded of a command that threw: also where the throw was a consequence, because its handler began
   * again what it had done before. Else throws what is to be thrown.
   */
  async settle(thrown: unknown): Promise<CommandAnswer> {
    const { isAsked, refused } = this.opening;
    if (refused !== undefined) return answerIn(refused);
    // A handler that threw before its first statement has not asked whether it was done before.
    const known = isAsked ? undefined : await this.#records.refusalOf(this.#work).catch(() => undefined);
    return answerIn(known ?? (await this.#records.refusalAfter(this.#work, thrown)));
  }
}

function answerIn(refusal: unknown): CommandAnswer {
  if (refusal instanceof AlreadyDone) return refusal.answer as CommandAnswer;
  throw refusal;
}
