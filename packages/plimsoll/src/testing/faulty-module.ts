import type { Sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { systemClock } from '../kernel/clock.ts';
import { currentContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { jobDefaults } from '../jobs/job.ts';
import type { AnyOperation } from '../modules/contract.ts';
import { isFailure } from '../modules/invocation.ts';
import { Fail, type Module, type Subscription, type SubscriptionContext } from '../modules/module.ts';
import type { FaultServer } from './fault-server.ts';
import type { Faults, FaultyRun } from './faults.ts';

type Handler = Module['commands'][string];
type Context = SubscriptionContext<string, string>;
type AnyCall = (operation: AnyOperation, input: unknown) => Promise<unknown>;

/** Longest delay of a delivery. */
const maxDelayMs = 30;

/**
 * The same module, with faults in the runs of its handlers. They come in through what a handler is given: the
 * runtime is the real one, and most faults are the server's own.
 */
export function faultyModule(module: Module, faults: Faults, server: FaultServer): Module {
  const each = (
    handlers: Readonly<Record<string, Handler>>,
    wrap: (id: string, handler: Handler) => Handler,
  ): Record<string, Handler> =>
    Object.fromEntries(
      Object.entries(handlers).map(([name, handler]) => [name, wrap(`${module.name}.${name}`, handler)]),
    );
  return {
    ...module,
    commands: each(module.commands, (id, handler) => async (input, given) => {
      const context = given as Context;
      return runCommand(faults.begin(id, context), server, context, (faulty) => handler(input, faulty));
    }),
    queries: each(module.queries, (id, handler) => async (input, given) => {
      const { key = '', correlationId = '' } = currentContext() ?? {};
      const run = faults.begin(id, { key, correlationId });
      const context = given as Context;
      return handler(input, changed(context, { call: faultyCall(context, run) }));
    }),
    subscriptions: module.subscriptions.map((subscription) => ({
      ...subscription,
      handler: faultyDelivery(`${module.name}.${subscription.options.name}`, subscription, faults, server),
    })),
  };
}

function faultyDelivery(
  id: string,
  { options, handler }: Subscription,
  faults: Faults,
  server: FaultServer,
): Subscription['handler'] {
  return async (payload, context) => {
    const { key, correlationId, delivery } = context;
    const triesLeft = (options.maxAttempts ?? jobDefaults.maxAttempts) - delivery.attempt;
    const run = faults.begin(id, { key, correlationId, triesLeft });
    if (run.hits('delayed', 0, 'before the handler'))
      await systemClock.sleep(run.chance('delayMs', 0) * maxDelayMs);
    await runCommand(run, server, context, (faulty) => handler(payload, faulty as Context));
  };
}

/** A command or a delivery: one transaction, which must not commit when a fault has hit the end of the handler. */
async function runCommand(
  run: FaultyRun,
  server: FaultServer,
  context: Context,
  handle: (faulty: unknown) => Promise<unknown>,
): Promise<unknown> {
  const result = await handle(
    changed(context, {
      tx: faultyTransaction(context.tx, run, server),
      call: faultyCall(context, run),
      external: faultyExternal(context, run),
    }),
  );
  // Rolled back anyway.
  if (result instanceof Fail) return result;
  if (isTask(context) && run.hits('taken-over', 0, 'after the handler')) await server.takeOver(context.key);
  if (run.hits('crash-before-commit', 0, 'after the handler')) await server.endConnection(context.tx);
  return result;
}

/** Whether this is the handler of the task itself, and not one that it calls. */
const isTask = ({ key, delivery }: Partial<Context>): boolean =>
  delivery !== undefined || currentContext()?.causationId === `job:${key}`;

function faultyTransaction(tx: Transaction, run: FaultyRun, server: FaultServer): Transaction {
  let statements = 0;
  /** Undefined, so that the statement is sent at once, unless something goes wrong before it. */
  const before = (): Promise<void> | undefined => {
    statements += 1;
    const at = `before statement ${statements}`;
    if (run.hits('connection-lost', statements, at)) return server.endConnection(tx);
    if (run.hits('serialization-failure', statements, at)) return server.failSerialization(tx);
    return undefined;
  };
  const sent = async <T>(send: () => Promise<T>): Promise<T> => {
    const fault = before();
    if (fault !== undefined) await fault;
    return send();
  };
  return {
    query: <R extends object>(statement: Sql) => sent(() => tx.query<R>(statement)),
    one: <R extends object>(statement: Sql) => sent(() => tx.one<R>(statement)),
    maybeOne: <R extends object>(statement: Sql) => sent(() => tx.maybeOne<R>(statement)),
    execute: (statement) => sent(() => tx.execute(statement)),
    get begun() {
      return tx.begun;
    },
  };
}

function faultyCall({ call }: Context, run: FaultyRun): AnyCall {
  let calls = 0;
  return async (operation, input) => {
    calls += 1;
    const at = `call ${calls}, ${operation.id}`;
    if (run.hits('call-refused', calls, at))
      throw new PlimsollError(
        'PL_DATABASE_UNAVAILABLE',
        `${operation.id} was not reached (a fault of the test)`,
      );
    const result = await (call as AnyCall)(operation, input);
    if (operation.kind === 'command' && !isFailure(result) && run.hits('call-answer-lost', calls, at))
      throw answerLost(operation);
    return result;
  };
}

/** What is thrown when a connection breaks during COMMIT and the server has committed. */
export function answerLost(operation: AnyOperation): PlimsollError {
  return new PlimsollError(
    'PL_COMMIT_UNKNOWN',
    `${operation.id}: it is done, but its answer was lost (a fault of the test); look for the effect before trying again`,
  );
}

function faultyExternal({ external }: Context, run: FaultyRun): Context['external'] {
  let effects = 0;
  return (name, key, effect) => {
    effects += 1;
    const place = effects;
    return external(name, key, async (signal, stableKey) => {
      const value = await effect(signal, stableKey);
      if (run.hits('external-answer-lost', place, `external ${name}`))
        throw new Error(`the answer of the external effect ${name} was lost (a fault of the test)`);
      return value;
    });
  };
}

/** The context with other members; what is not changed stays where it is, getters and all. */
function changed(context: Context, members: Readonly<Record<string, unknown>>): unknown {
  return new Proxy(context, {
    get: (target, key): unknown =>
      typeof key === 'string' && Object.hasOwn(members, key)
        ? members[key]
        : Reflect.get(target, key, target),
  });
}
