import type { Database } from '../database/database.ts';
import type { BackoffOptions } from '../durable/backoff.ts';
import type { Reservation } from '../durable/worker.ts';
import { validate } from '../kernel/validate.ts';
import { payloadNow } from '../outbox/event-versions.ts';
import { createSagaRunner, type SagaRunner } from '../saga/runner.ts';
import type { RecordStep } from '../saga/step-call.ts';
import type { AnyCommand, AnyEvent, Schema } from './contract.ts';
import type { Registry } from './registry.ts';

export interface ModuleSagasOptions {
  readonly registry: Registry;
  readonly database: Database;
  /** Calls a command as a step of a saga of the module, in the current context. */
  readonly callStep: (
    module: string,
    operation: AnyCommand,
    input: unknown,
    record: RecordStep,
  ) => Promise<unknown>;
  readonly backoff: BackoffOptions | undefined;
  readonly reserve: ((name: string) => Reservation | undefined) | undefined;
}

/** Runs the sagas of the modules. */
export function sagaRunner(options: ModuleSagasOptions): SagaRunner {
  const { registry, database, callStep, backoff, reserve } = options;
  return createSagaRunner({
    database,
    sagas: registry.sagas,
    // Async, so that what it refuses at once is a failure of the step.
    call: async (module, command, input, record) => callStep(module, command as AnyCommand, input, record),
    commandOf(id) {
      const operation = registry.operations.get(id);
      return operation?.kind === 'command' ? operation : undefined;
    },
    payloadOf: (event, arrived) =>
      validate(
        event.payload as Schema,
        payloadNow(event as AnyEvent, arrived),
        'PL_PAYLOAD_INVALID',
        `payload of ${event.id}, event ${arrived.id}`,
      ),
    ...(backoff === undefined ? {} : { backoff }),
    ...(reserve === undefined ? {} : { reserve }),
  });
}
