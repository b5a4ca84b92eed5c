import type { Queryable } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';
import { currentContext, type RequestContext } from '../kernel/context.ts';
import { signalOf } from '../kernel/deadline.ts';
import { PlimsollError } from '../kernel/errors.ts';
import type { AnyCommand, AnyEvent, AnyOperation, ErrorSchemas } from './contract.ts';
import type { CommandAnswer } from './command-record.ts';
import type { ExternalEffects } from './external.ts';
import type { Wire } from '../kernel/json-copy.ts';
import type { AnySaga } from '../saga/saga.ts';
import {
  Fail,
  type CalledLater,
  type Delivery,
  type EnqueueOptions,
  type Module,
  type StartOptions,
} from './module.ts';
import type { Outgoing } from './outgoing.ts';
import { validateNow } from '../kernel/validate.ts';

export interface HandlerContextOptions {
  readonly module: Module;
  readonly context: RequestContext;
  readonly call: Call;
  /** Whether a call while the transaction is open throws. */
  readonly strictCalls: boolean;
  /** Data of declared errors goes to the caller this way. */
  readonly wire: Wire;
  /** Throws when an event of this type is not to be taken from outside now. Default: all are. */
  readonly assertRoom: ((type: string) => void) | undefined;
}

/** One transaction and what goes with it. */
export interface Work {
  readonly tx: Transaction;
  readonly outgoing: Outgoing;
  readonly effects: ExternalEffects;
  /** Set when the handler runs as a job. */
  readonly job: CalledLater | undefined;
  /** What is recorded with it, where it is. */
  readonly answered: (answer: CommandAnswer) => void;
}

type Call = (operation: AnyOperation, input: unknown) => Promise<unknown>;

/**
 * Signal and identity, which every kind of handler has. What a context offers is made when it is read: a handler
 * uses little of it, and may take it apart.
 */
class BaseContext {
  readonly #context: RequestContext;
  #signal: AbortSignal | undefined;

  constructor(context: RequestContext) {
    this.#context = context;
    this.#signal = undefined;
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
    return (this.#signal ??= signalOf(this.#context));
  }
}

export class QueryHandlerContext extends BaseContext {
  readonly db: Queryable;
  readonly #options: HandlerContextOptions;

  constructor(options: HandlerContextOptions, db: Queryable) {
    super(options.context);
    this.db = db;
    this.#options = options;
  }

  get call(): Call {
    const { module, call } = this.#options;
    return (operation, input) => {
      assertUses(module, operation.contract, `call ${operation.id}`);
      if (operation.kind !== 'query')
        throw new PlimsollError(
          'PL_USES_UNDECLARED',
          `a query of ${module.name} cannot call the command ${operation.id}; queries are read-only`,
        );
      return call(operation, input);
    };
  }
}

export class CommandHandlerContext extends BaseContext {
  readonly tx: Transaction;
  readonly #options: HandlerContextOptions;
  readonly #work: Work;
  readonly #errors: ErrorSchemas;
  #ended = false;

  constructor(options: HandlerContextOptions, work: Work, errors: ErrorSchemas) {
    super(options.context);
    this.tx = work.tx;
    this.#options = options;
    this.#work = work;
    this.#errors = errors;
  }

  get call(): Call {
    const { module, call, strictCalls } = this.#options;
    return (operation, input) => {
      this.#assertRunning(`call ${operation.id}`);
      assertUses(module, operation.contract, `call ${operation.id}`);
      if (this.tx.begun && strictCalls) {
        throw new PlimsollError(
          'PL_CALL_IN_TRANSACTION',
          `${this.#where} called ${operation.id} while its transaction was open, which would hold a connection across the call; call before the first statement, or use an event or a job`,
          { data: { caller: this.#where, operation: operation.id } },
        );
      }
      return call(operation, input);
    };
  }

  get emit(): (event: AnyEvent, payload: unknown) => void {
    return (event, payload) => {
      this.#assertRunning(`emit ${event.id}`);
      if (event.contract !== this.#options.module.name)
        throw new PlimsollError(
          'PL_FOREIGN_EVENT',
          `${this.#where} emitted ${event.id}; a module emits only events of its own contract`,
        );
      // What events and jobs set off is what makes room, and is taken always.
      if (this.#options.context.causationId === undefined) this.#options.assertRoom?.(event.id);
      this.#work.outgoing.emit(event, payload);
    };
  }

  get enqueue(): (operation: AnyCommand, input: unknown, options?: EnqueueOptions) => string {
    return (operation, input, options) => {
      this.#assertRunning(`enqueue ${operation.id}`);
      assertUses(this.#options.module, operation.contract, `enqueue ${operation.id}`);
      return this.#work.outgoing.enqueue(operation, input, options);
    };
  }

  get start(): (saga: AnySaga, input: unknown, options?: StartOptions) => string {
    return (saga, input, { id } = {}) => {
      this.#assertRunning('start a saga');
      const { module } = this.#options;
      const own = Object.entries(module.sagas).find(([, listed]) => listed === saga);
      if (own === undefined) {
        throw new PlimsollError(
          'PL_UNKNOWN_OPERATION',
          `${this.#where} started a saga that ${module.name} does not list in its sagas; another module's is started by a command of that module`,
        );
      }
      const name = `${module.name}.${own[0]}`;
      return this.#work.outgoing.start({ name, module: module.name, saga, input, id });
    };
  }

  get invalidate(): (...tags: readonly string[]) => void {
    return (...tags) => {
      this.#assertRunning(`invalidate ${tags.join(', ')}`);
      this.#work.outgoing.invalidate(tags);
    };
  }

  get external(): (
    name: string,
    key: string,
    effect: (signal: AbortSignal, key: string) => Promise<unknown>,
  ) => Promise<unknown> {
    return async (name, key, effect) => {
      this.#assertRunning(`external ${name}`);
      if (this.tx.begun) {
        throw new PlimsollError(
          'PL_CALL_IN_TRANSACTION',
          `${this.#where} began the external effect ${JSON.stringify(name)} while its transaction was open, which would hold a connection and locks for as long as the outside takes; call external before the first statement`,
          { data: { caller: this.#where, external: name } },
        );
      }
      return this.#work.effects.perform(name, key, this.signal, effect);
    };
  }

  get job(): CalledLater | undefined {
    return this.#work.job;
  }

  get fail(): (error: string, data: unknown) => Fail {
    return (error, data) => {
      const schema = this.#errors[error];
      if (schema === undefined) {
        throw new PlimsollError(
          'PL_UNDECLARED_ERROR',
          `${this.#where} failed with ${JSON.stringify(error)}; its contract declares ${Object.keys(this.#errors).join(', ') || 'no errors'}`,
        );
      }
      const what = `data of error ${error} of ${this.#where}`;
      const sent = this.#options.wire(data, what);
      return new Fail(error, validateNow(schema, sent, 'PL_PAYLOAD_INVALID', what), sent);
    };
  }

  /** After this, what was kept of the context throws. */
  end(): void {
    this.#ended = true;
  }

  get #where(): string {
    return this.#options.context.operation ?? this.#options.module.name;
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
  readonly delivery: Delivery;

  constructor(options: HandlerContextOptions, work: Work, delivery: Delivery) {
    super(options, work, {});
    this.delivery = delivery;
  }
}

export function assertUses(module: Module, contract: string, what: string): void {
  if (module.uses.has(contract)) return;
  throw new PlimsollError('PL_USES_UNDECLARED', `${what}: ${module.name} does not list ${contract} in uses`, {
    data: { module: module.name, contract },
  });
}
