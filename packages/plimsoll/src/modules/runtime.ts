import type { Database } from '../database/database.ts';
import type { Transaction } from '../database/transaction.ts';
import { completeTask, type ClaimedTask } from '../durable/task.ts';
import type { BackoffOptions } from '../durable/backoff.ts';
import { OutcomeReturned, TaskOutcome } from '../durable/outcome.ts';
import { taskContext } from '../durable/task-context.ts';
import type { Reservation, TaskControl, TaskHandler } from '../durable/worker.ts';
import { operations as operationChannel, type OperationMessage } from '../kernel/channels.ts';
import { systemClock } from '../kernel/clock.ts';
import {
  assertAlive,
  createContext,
  currentContext,
  enterOperation,
  runInContext,
  type RequestContext,
} from '../kernel/context.ts';
import { beforeDeadline } from '../kernel/deadline.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { jobDefaults } from '../jobs/job.ts';
import { causeOf, type RecordedEvent } from '../outbox/events.ts';
import type { SubscriptionRecord } from '../outbox/subscriptions.ts';
import type { AnyCommand, AnyOperation, AnyQuery, Input, Result } from './contract.ts';
import { createCommandRecords, type CommandRecordOptions } from './command-record.ts';
import { sagaRunner } from './saga-runner.ts';
import { payloadNow } from '../outbox/event-versions.ts';
import {
  assertUses,
  CommandHandlerContext,
  QueryHandlerContext,
  SubscriptionHandlerContext,
  type HandlerContextOptions,
} from './handler-context.ts';
import { createHandlerTransaction, type Invalidations } from './handler-transaction.ts';
import { invoke, isFailure, memberName, resultOf, succeeded, validInput, validOutput } from './invocation.ts';
import { asIs, jsonCopy, type Wire } from '../kernel/json-copy.ts';
import { Fail, type Module, type Subscription } from './module.ts';
import { AlreadyApplied, type Completion, type Pending } from './outgoing.ts';
import type { ModulePolicies } from './module-policies.ts';
import type { AnswerQuery } from './query-cache.ts';
import type { Registry } from './registry.ts';
import type { RecordStep } from '../saga/step-call.ts';
import { validate } from '../kernel/validate.ts';
import type { ViewReads } from '../views/reads.ts';

export interface RuntimeOptions {
  readonly registry: Registry;
  readonly database: Database;
  /** Deadline of an operation that declares none and whose caller has none. Default 10_000. */
  readonly timeoutMs?: number;
  /** Whether a call inside an open transaction throws (development and test) or is let through. Default true. */
  readonly strictCalls?: boolean;
  /** Whether what goes from module to module goes through JSON, as it would between processes. Default true. */
  readonly jsonCalls?: boolean;
  /** What guards the calls from one module into another. Default nothing. */
  readonly policies?: ModulePolicies;
  /** Queries whose answers are kept, by id. Default none. */
  readonly caches?: ReadonlyMap<string, AnswerQuery>;
  /** Where the invalidations of commands go. Default: there is nothing to invalidate. */
  readonly invalidations?: Invalidations;
  /** How long, and of what size, answers under stable keys are kept. */
  readonly idempotency?: CommandRecordOptions;
  /** Throws PL_EVENTS_BEHIND when an event of this type is not to be taken from outside now. Default: all are. */
  readonly assertRoom?: (type: string) => void;
  /** Waits until views show what a reader has written. Default: nobody waits. */
  readonly viewReads?: Pick<ViewReads, 'current'>;
  /** Called after a commit that wrote events or tasks. */
  readonly onCommitted?: (pending: Pending) => void;
  /** A slot of the worker that runs the task handlers, for a saga that begins where it is started. Default none. */
  readonly reserve?: (name: string) => Reservation | undefined;
  /** Waits between the tries of a step of a saga. Default as for jobs. */
  readonly sagaBackoff?: BackoffOptions;
}

/** Runs the operations of one app's modules. */
export interface Runtime {
  readonly call: <Op extends AnyOperation>(operation: Op, input: Input<Op['input']>) => Promise<Result<Op>>;
  /** What a worker runs, by task name: every command (as a job) and every subscription. */
  readonly taskHandlers: ReadonlyMap<string, TaskHandler>;
  readonly subscriptionRecords: readonly SubscriptionRecord[];
}

const defaultTimeoutMs = 10_000;
const strongRead = { consistency: 'strong' } as const;
const asTheDatabaseSays = {};
/** A query may be made again, and a command whose answer is recorded under its key. Another command not. */
const isSafe = { safe: true };
const isUnsafe = { safe: false };

/** From where an operation is called, and what tells this call from the others made there. */
interface Hop {
  readonly above: RequestContext;
  readonly keySuffix: string;
}

/** For what a command runs. */
interface CommandRun {
  readonly wire: Wire;
  /** Set for a job. */
  readonly completion?: Completion;
  /** Set for a step of a saga. */
  readonly recordStep?: RecordStep;
}

/** Carries a declared failure past the transaction, which it rolls back. */
class DeclaredFailure extends Error {
  readonly fail: Fail;
  constructor(fail: Fail) {
    super(fail.error);
    this.fail = fail;
  }
}

export function createRuntime(options: RuntimeOptions): Runtime {
  const { registry, database, policies, caches, viewReads } = options;
  const { scope } = database;
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const strictCalls = options.strictCalls ?? true;
  const betweenModules: Wire = (options.jsonCalls ?? true) ? jsonCopy : asIs;
  const recordOf = createCommandRecords(database, options.idempotency);
  const inTransaction = createHandlerTransaction({
    database,
    wire: betweenModules,
    invalidations: options.invalidations,
    onCommitted: options.onCommitted,
    beginHere: (saga, task) => sagas.beginHere(saga, task),
  });

  /** Enters the operation's context, times it and tells the channel. */
  async function perform<T>(
    id: string,
    kind: OperationMessage['kind'],
    hop: Hop,
    ownTimeoutMs: number | undefined,
    run: (context: RequestContext) => Promise<T>,
  ): Promise<T> {
    const { above, keySuffix } = hop;
    const context = enterOperation(
      above,
      id,
      ownTimeoutMs ?? (above.deadlineAtMs === Infinity ? timeoutMs : undefined),
      // What a command decides must not rest on a stale replica, so the queries it calls are strong.
      { keySuffix, strong: above.strong || kind !== 'query' },
    );
    const startedMs = systemClock.monotonicMs();
    let outcome: OperationMessage['outcome'] = 'error';
    let failure: unknown;
    try {
      assertAlive(context, id);
      const result = await runInContext(context, run, context);
      outcome = kind === 'command' && isFailure(result) ? 'failed' : 'ok';
      return result;
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      if (operationChannel.hasSubscribers) {
        const durationMs = systemClock.monotonicMs() - startedMs;
        operationChannel.publish({
          scope,
          operation: id,
          kind,
          outcome,
          durationMs,
          span: context.span,
          error: failure,
        });
      }
    }
  }

  const handlerOptions = (module: Module, context: RequestContext, wire: Wire): HandlerContextOptions => {
    // Distinguishes the calls of one handler; the same handler makes them in the same order when tried again.
    let calls = 0;
    return {
      module,
      context,
      strictCalls,
      wire,
      assertRoom: options.assertRoom,
      call(operation, input) {
        calls += 1;
        const hop = { above: context, keySuffix: `/${operation.id}.${calls}` };
        if (operation.contract === module.name) return dispatch(operation, input, hop, asIs);
        const policy = policies?.of(operation.contract);
        if (policy === undefined) return dispatch(operation, input, hop, betweenModules);
        return policy.run(
          () => dispatch(operation, input, hop, betweenModules),
          operation.kind === 'query' || context.keyIsStable ? isSafe : isUnsafe,
        );
      },
    };
  };

  function dispatch(operation: AnyOperation, input: unknown, hop: Hop, wire: Wire): Promise<unknown> {
    let module: Module;
    try {
      module = registry.owner(operation);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    if (operation.kind === 'query')
      return perform(operation.id, 'query', hop, operation.timeoutMs, (context) =>
        runQuery(module, operation, input, context, wire),
      );
    return perform(operation.id, 'command', hop, operation.timeoutMs, (context) =>
      runCommand(module, operation, input, context, { wire }),
    );
  }

  async function runQuery(
    module: Module,
    operation: AnyQuery,
    input: unknown,
    context: RequestContext,
    wire: Wire,
  ): Promise<unknown> {
    const checked = validInput(operation, input, wire);
    const valid = checked instanceof Promise ? await checked : checked;
    const handler = module.queries[memberName(operation)];
    const views = module.reads[memberName(operation)];
    // Before a server is chosen: it must have what the views have by then.
    if (views !== undefined && viewReads !== undefined)
      await viewReads.current(views, { seen: context.seen, strong: context.strong });
    const ask = (within: RequestContext, over: Wire): Promise<unknown> =>
      database
        .readOnly(
          (db) =>
            invoke(
              handler,
              operation.id,
              valid,
              new QueryHandlerContext(handlerOptions(module, within, over), db),
            ),
          within.strong ? strongRead : asTheDatabaseSays,
        )
        .then((result) => validOutput(operation, result, over));
    const answer = caches?.get(operation.id);
    if (answer === undefined) return await ask(context, wire);
    const kept = await answer(valid, context, (within) =>
      runInContext(within, () => ask(within, betweenModules)),
    );
    return wire(kept, `output of ${operation.id}`);
  }

  async function runCommand(
    module: Module,
    operation: AnyCommand,
    input: unknown,
    context: RequestContext,
    { wire, completion, recordStep }: CommandRun,
  ): Promise<unknown> {
    const valid = await validInput(operation, input, wire);
    const handler = module.commands[memberName(operation)];
    // A job's own end, and the record of a step, are in its transaction: it cannot come again.
    const mayCome = completion === undefined && recordStep === undefined;
    const record = mayCome
      ? recordOf(operation.id, input, context, operation.personal?.subject(valid))
      : undefined;
    const last =
      recordStep && ((tx: Transaction, result: unknown) => recordStep(tx, succeeded(operation, result)));
    // What is answered now is what will be answered again: the value as it is recorded.
    const carry = record === undefined ? wire : jsonCopy;
    try {
      const value = await inTransaction(context, { completion, record, last }, async (work) => {
        const handlerContext = new CommandHandlerContext(
          handlerOptions(module, context, carry),
          work,
          operation.errors,
        );
        const result = await invoke(handler, operation.id, valid, handlerContext).finally(() =>
          handlerContext.end(),
        );
        if (result instanceof Fail) throw new DeclaredFailure(result);
        if (result instanceof TaskOutcome && work.job !== undefined) throw new OutcomeReturned(result);
        if (operation.output === undefined) return undefined;
        const given = carry(result, `output of ${operation.id}`);
        work.answered({ value: given });
        const output = await validOutput(operation, given, asIs);
        work.outgoing.result = output;
        return output;
      });
      return succeeded(operation, value);
    } catch (error) {
      if (error instanceof OutcomeReturned) return error.outcome;
      const failure = error instanceof DeclaredFailure ? error.fail : undefined;
      if (record === undefined && failure === undefined) throw error;
      const before =
        failure === undefined
          ? await record?.settle(error)
          : await record?.failed({ error: failure.error, data: failure.given });
      if (before !== undefined) {
        context.noteReplay();
        return resultOf(operation, before);
      }
      return { ok: false, error: failure?.error, data: failure?.data };
    }
  }

  async function runJob(
    operation: AnyCommand,
    task: ClaimedTask,
    control: TaskControl | undefined,
  ): Promise<TaskOutcome | undefined> {
    const module = registry.owner(operation);
    const result = await perform(
      operation.id,
      'command',
      { above: taskContext(database, task, `job:${task.id}`, control), keySuffix: '' },
      task.timeoutMs === null ? operation.timeoutMs : undefined,
      (context) =>
        beforeDeadline(
          context,
          runCommand(module, operation, task.payload, context, {
            wire: asIs,
            completion: { task, complete: control?.complete },
          }),
        ),
    );
    if (result instanceof TaskOutcome) return result;
    if (isFailure(result)) {
      throw new PlimsollError(
        'PL_JOB_FAILED',
        `job ${operation.id} ${task.id}: ${result.error} ${JSON.stringify(result.data)}`,
        { data: { error: result.error, data: result.data } },
      );
    }
    return undefined;
  }

  async function runDelivery(
    module: Module,
    subscription: Subscription,
    task: ClaimedTask,
    control: TaskControl | undefined,
  ): Promise<void> {
    const event = task.payload as RecordedEvent;
    const delivery = {
      eventId: event.id,
      position: event.position,
      attempt: task.attempt,
      replay: event.replay,
      erased: event.erased === true,
    };
    const completion: Completion = { task, inbox: { subscription: task.name, event } };
    const above = taskContext(database, task, causeOf(event, task.name), control);
    try {
      await perform(task.name, 'subscription', { above, keySuffix: '' }, undefined, async (context) => {
        const payload: unknown = await validate(
          subscription.event.payload,
          payloadNow(subscription.event, event),
          'PL_PAYLOAD_INVALID',
          `payload of ${event.type}, event ${event.id}`,
        );
        const work = inTransaction(context, { completion }, async (work) => {
          const handlerContext = new SubscriptionHandlerContext(
            handlerOptions(module, context, asIs),
            work,
            delivery,
          );
          await subscription
            .handler(payload, handlerContext as Parameters<Subscription['handler']>[1])
            .finally(() => handlerContext.end());
        });
        await beforeDeadline(context, work);
      });
    } catch (error) {
      if (!(error instanceof AlreadyApplied)) throw error;
      // The effect is there from an earlier delivery; only the task is left to end.
      await database.execute(completeTask(task));
    }
  }

  const taskHandlers = new Map<string, TaskHandler>();
  for (const operation of registry.operations.values()) {
    if (operation.kind === 'command')
      taskHandlers.set(operation.id, (task, control) => runJob(operation, task, control));
  }
  for (const [name, { module, subscription }] of registry.subscriptions) {
    taskHandlers.set(name, (task, control) => runDelivery(module, subscription, task, control));
  }

  /** The step of a saga: a call as from a handler of its module, whose key is that of the step. */
  function callStep(
    moduleName: string,
    operation: AnyCommand,
    input: unknown,
    recordStep: RecordStep,
  ): Promise<unknown> {
    const above = currentContext() ?? createContext();
    const from = registry.modules.find(({ name }) => name === moduleName);
    if (from !== undefined) assertUses(from, operation.contract, `step ${operation.id}`);
    const module = registry.owner(operation);
    const call = (): Promise<unknown> =>
      perform(operation.id, 'command', { above, keySuffix: '' }, operation.timeoutMs, (context) =>
        beforeDeadline(
          context,
          runCommand(module, operation, input, context, { wire: jsonCopy, recordStep }),
        ),
      );
    const policy = operation.contract === moduleName ? undefined : policies?.of(operation.contract);
    return policy === undefined ? call() : policy.run(call, above.keyIsStable ? isSafe : isUnsafe);
  }

  const { reserve, sagaBackoff: backoff } = options;
  const sagas = sagaRunner({ registry, database, callStep, backoff, reserve });
  for (const [name, handler] of sagas.handlers) taskHandlers.set(name, handler);

  return {
    call(operation, input) {
      const above = currentContext() ?? createContext();
      const keySuffix = operation.kind === 'query' ? '' : above.nextCallSuffix(operation.id);
      return dispatch(operation, input, { above, keySuffix }, asIs) as Promise<Result<typeof operation>>;
    },
    taskHandlers,
    subscriptionRecords: [...registry.subscriptions].map(([name, { module, subscription }]) => ({
      name,
      module: module.name,
      eventType: subscription.event.id,
      maxAttempts: subscription.options.maxAttempts ?? jobDefaults.maxAttempts,
      ordered: subscription.options.ordered,
      onPark: subscription.options.onPark,
      from: subscription.options.from,
    })),
  };
}
