import type { RecordedInvalidation } from '../cache/invalidation-rows.ts';
import type { InvalidationRelay } from '../cache/relay.ts';
import type { Database } from '../database/database.ts';
import type { Transaction } from '../database/transaction.ts';
import { assertAlive, type RequestContext } from '../kernel/context.ts';
import type { Wire } from '../kernel/json-copy.ts';
import { settleSoon } from '../kernel/settle-seen.ts';
import { calledLater } from './called-later.ts';
import type { CommandAnswer, CommandRecord } from './command-record.ts';
import { ExternalEffects } from './external.ts';
import type { Work } from './handler-context.ts';
import type { InvalidationCheck } from './invalidation-check.ts';
import { Outgoing, type Completion, type Pending } from './outgoing.ts';
import type { BeginHere } from '../saga/begin-here.ts';

/** The cache whose rows commands write, who publishes them after the commit, and who finds those that are missing. */
export interface Invalidations {
  readonly cache: string;
  readonly relay: Pick<InvalidationRelay, 'published'>;
  readonly check: InvalidationCheck;
}

export interface HandlerTransactionOptions {
  readonly database: Database;
  /** What happens to what goes from module to module. */
  readonly wire: Wire;
  readonly invalidations: Invalidations | undefined;
  /** Called after a commit that wrote events or tasks. */
  readonly onCommitted: ((pending: Pending) => void) | undefined;
  readonly beginHere: BeginHere | undefined;
}

/** What ends with the transaction of a handler. */
export interface Ending {
  readonly completion?: Completion | undefined;
  readonly record?: CommandRecord | undefined;
  /** Runs last, with what the handler resulted in. */
  readonly last?: ((tx: Transaction, result: unknown) => Promise<void>) | undefined;
}

/** Runs a handler in its one transaction. */
export type HandlerTransaction = <T>(
  context: RequestContext,
  ending: Ending,
  run: (work: Work) => Promise<T>,
) => Promise<T>;

/** What handlers buffer, the ends of their tasks and their answers are written just before COMMIT. */
export function createHandlerTransaction(options: HandlerTransactionOptions): HandlerTransaction {
  const { database, wire, invalidations, onCommitted, beginHere } = options;

  async function inTransaction<T>(
    context: RequestContext,
    { completion, record, last }: Ending,
    run: (work: Work) => Promise<T>,
  ): Promise<T> {
    const outgoing = new Outgoing(context, wire, invalidations?.cache, beginHere);
    const effects = new ExternalEffects(database, context);
    let answer: CommandAnswer = {};
    const answered = (given: CommandAnswer): void => void (answer = given);
    const asJob = completion !== undefined && completion.inbox === undefined;
    const job = asJob ? calledLater(database, completion.task) : undefined;
    let result: T;
    try {
      result = await database.transaction((tx) => run({ tx, outgoing, effects, job, answered }), {
        ...(record === undefined ? {} : { opening: record.opening }),
        // What events and jobs set off answers nobody who would read next; but what it invalidates is as of its commit.
        positionDue: () => context.causationId !== undefined && outgoing.tags.length === 0,
        async beforeCommit(tx) {
          const operation = context.operation ?? 'command';
          assertAlive(context, operation);
          invalidations?.check.committing(operation, context, outgoing.tags);
          const endings = { completion, external: effects.recording(), answer: record?.recording(answer) };
          await outgoing.flush(tx, endings);
          await last?.(tx, outgoing.result);
        },
      });
    } catch (error) {
      outgoing.failed(error);
      await effects.abandon();
      throw error;
    }
    outgoing.committed();
    const { pending } = outgoing;
    if (pending.relay || pending.worker) onCommitted?.(pending);
    if (outgoing.invalidation !== undefined) await publish(outgoing.invalidation, context);
    return result;
  }

  /** After the commit, whose position is in the token; where it is not, the relay takes one. */
  async function publish(invalidation: RecordedInvalidation, { seen }: RequestContext): Promise<void> {
    if (seen.isUnknown(database.name)) {
      // The commit was answered and its position was not: one from now on covers it.
      const now = database.seenUntilNow();
      await settleSoon(now, (each) => database.settle(each));
      seen.mergeAll(now);
      const until = now.isUnknown(database.name) ? undefined : now.mark(database.name);
      if (until !== undefined) seen.noteWritten(database.name, until.epoch, until.written, invalidation.tags);
    }
    const mark = seen.isUnknown(database.name) ? undefined : seen.mark(database.name);
    const at = mark === undefined ? undefined : { epoch: mark.epoch, lsn: mark.written };
    await invalidations?.relay.published(invalidation, at);
  }

  return inTransaction;
}
