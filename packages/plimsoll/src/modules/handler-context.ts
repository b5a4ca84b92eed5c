import type { Queryable } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';
import { currentContext, remainingMs, type RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import type { AnyCommand, AnyEvent, AnyOperation, ErrorSchemas } from './contract.ts';
import type { ExternalEffects } from './external.ts';
import type { Wire } from './json-copy.ts';
import { Fail, type EnqueueOptions, type Module } from './module.ts';
import type { Outgoing } from './outgoing.ts';
import { validateNow } from './validate.ts';

export interface HandlerContextOptions {
  readonly module: Module;
  readonly context: RequestContext;
  readonly call: (operation: AnyOperation, input: unknown) => Promise<unknown>;
  /** Whether a call while the transaction is open throws. */
  readonly strictCalls: boolean;
  /** Data of declared errors goes to the caller this way. */
  readonly wire: Wire;
}

/** One transaction and what goes with it. */
export interface Work {
  readonly tx: Transaction;
  readonly outgoing: Outgoing;
  readonly effects: ExternalEffects;
}

/** Signal and identity, which every kind of handler has. The signal is made when first read: most never do. */
class BaseContext {
  readonly #context: RequestContext;
  #signal: AbortSignal | undefined;

  constructor(context: RequestContext) {
    this.#context = context;
  }
  get correlationId(): string {
    return this.#context.correlationId;
  }
  get key(): string {
    return this.#context.key;
  }
  get caller(): RequestContext['caller'] {
    return this.#context.caller;
  }
  get signal(): AbortSignal {
    if (this.#signal === undefined) {
      // A timer may fire a fraction early; whoever sees the signal must also see the deadline passed.
      const leftMs = remainingMs(this.#context);
      const timeout = leftMs === Infinity ? [] : [AbortSignal.timeout(Math.ceil(leftMs) + 1)];
      this.#signal = AbortSignal.any([
        ...timeout,
        ...(this.#context.signal === undefined ? [] : [this.#context.signal]),
      ]);
    }
    return this.#signal;
  }
}

export class QueryHandlerContext extends BaseContext {
  readonly db: Queryable;
  readonly call: (operation: AnyOperation, input: unknown) => Promise<unknown>;

  constructor(options: HandlerContextOptions, db: Queryable) {
    super(options.context);
    this.db = db;
    this.call = (operation, input) => {
      assertUses(options.module, operation.contract, `call ${operation.id}`);
      if (operation.kind !== 'query')
        throw new PlimsollError(
          'PL_USES_UNDECLARED',
          `a query of ${options.module.name} cannot call the command ${operation.id}; queries are read-only`,
        );
      return options.call(operation, input);
    };
  }
}

export class CommandHandlerContext extends BaseContext {
  readonly tx: Transaction;
  readonly call: (operation: AnyOperation, input: unknown) => Promise<unknown>;
  readonly emit: (event: AnyEvent, payload: unknown) => void;
  readonly enqueue: (operation: AnyCommand, input: unknown, options?: EnqueueOptions) => string;
  readonly external: (
    name: string,
    key: string,
    effect: (signal: AbortSignal, key: string) => Promise<unknown>,
  ) => Promise<unknown>;
  readonly fail: (error: string, data: unknown) => Fail;
  #ended = false;

  constructor(options: HandlerContextOptions, { tx, outgoing, effects }: Work, errors: ErrorSchemas) {
    super(options.context);
    const { module, context } = options;
    const where = context.path.at(-1) ?? module.name;
    this.tx = tx;
    this.call = (operation, input) => {
      this.#assertRunning(`call ${operation.id}`);
      assertUses(module, operation.contract, `call ${operation.id}`);
      if (tx.begun && options.strictCalls) {
        throw new PlimsollError(
          'PL_CALL_IN_TRANSACTION',
          `${where} called ${operation.id} while its transaction was open, which would hold a connection across the call; call before the first statement, or use an event or a job`,
          { data: { caller: where, operation: operation.id } },
        );
      }
      return options.call(operation, input);
    };
    this.emit = (event, payload) => {
      this.#assertRunning(`emit ${event.id}`);
      if (event.contract !== module.name)
        throw new PlimsollError(
          'PL_FOREIGN_EVENT',
          `${where} emitted ${event.id}; a module emits only events of its own contract`,
        );
      outgoing.emit(event, payload);
    };
    this.enqueue = (operation, input, enqueueOptions) => {
      this.#assertRunning(`enqueue ${operation.id}`);
      assertUses(module, operation.contract, `enqueue ${operation.id}`);
      return outgoing.enqueue(operation, input, enqueueOptions);
    };
    this.external = async (name, key, effect) => {
      this.#assertRunning(`external ${name}`);
      if (tx.begun) {
        throw new PlimsollError(
          'PL_CALL_IN_TRANSACTION',
          `${where} began the external effect ${JSON.stringify(name)} while its transaction was open, which would hold a connection and locks for as long as the outside takes; call external before the first statement`,
          { data: { caller: where, external: name } },
        );
      }
      return effects.perform(name, key, this.signal, effect);
    };
    this.fail = (error, data) => {
      const schema = errors[error];
      if (schema === undefined) {
        throw new PlimsollError(
          'PL_UNDECLARED_ERROR',
          `${where} failed with ${JSON.stringify(error)}; its contract declares ${Object.keys(errors).join(', ') || 'no errors'}`,
        );
      }
      const what = `data of error ${error} of ${where}`;
      return new Fail(error, validateNow(schema, options.wire(data, what), 'PL_PAYLOAD_INVALID', what));
    };
  }

  /** After this, what was kept of the context throws. */
  end(): void {
    this.#ended = true;
  }

  #assertRunning(what: string): void {
    if (this.#ended) {
      throw new PlimsollError(
        'PL_HANDLER_ENDED',
        `${what}: the handler has already returned; await everything inside it`,
        { data: { path: currentContext()?.path } },
      );
    }
  }
}

/** A subscription's context is a command's, and knows its delivery. */
export class SubscriptionHandlerContext extends CommandHandlerContext {
  readonly delivery: { readonly eventId: string; readonly position: number; readonly attempt: number };

  constructor(options: HandlerContextOptions, work: Work, delivery: SubscriptionHandlerContext['delivery']) {
    super(options, work, {});
    this.delivery = delivery;
  }
}

function assertUses(module: Module, contract: string, what: string): void {
  if (module.uses.has(contract)) return;
  throw new PlimsollError('PL_USES_UNDECLARED', `${what}: ${module.name} does not list ${contract} in uses`, {
    data: { module: module.name, contract },
  });
}
