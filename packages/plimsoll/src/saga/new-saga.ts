import { randomUUID } from 'node:crypto';
import type { NewTask } from '../durable/task.ts';
import type { RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { jsonCopy } from '../kernel/json-copy.ts';
import { validateNow } from '../kernel/validate.ts';
import type { AnySaga } from './saga.ts';
import { turnTask, type NewSaga } from './statements.ts';
import { asRow } from './store.ts';

export interface SagaRequest {
  /** `orders.checkout`. */
  readonly name: string;
  readonly module: string;
  readonly saga: AnySaga;
  readonly input: unknown;
  /** What makes it one saga, however often it is started. Default: a new one each time. */
  readonly id?: string | undefined;
}

export interface StartedSaga {
  readonly saga: NewSaga;
  /** Its first turn; to be inserted with it. */
  readonly task: NewTask;
}

const maxIdLength = 200;

/**
 * A saga to be written with `insertSagas` and `insertTasks`, in the caller's transaction. PL_PAYLOAD_INVALID for an
 * input that does not match, PL_CONFIG for an id that cannot be one.
 */
export function newSaga(
  context: RequestContext,
  { name, module, saga, input, id }: SagaRequest,
): StartedSaga {
  if (id !== undefined && (id === '' || id.length > maxIdLength))
    throw new PlimsollError(
      'PL_CONFIG',
      `the id of a saga ${name} has ${id.length} characters; give from 1 to ${maxIdLength}`,
      { data: { name, length: id.length } },
    );
  const what = `input of saga ${name}`;
  const sent = jsonCopy(input, what);
  const valid = validateNow(saga.input, sent, 'PL_PAYLOAD_INVALID', what);
  const { correlationId, causationId, caller } = context;
  const made: NewSaga = {
    id: `${name}/${id ?? randomUUID()}`,
    module,
    name,
    version: saga.version,
    subject: saga.subjectOf?.(valid),
    task: randomUUID(),
    input: sent === undefined ? {} : { value: sent },
    correlationId,
    causationId,
    caller,
  };
  return { saga: made, task: turnTask(asRow(made), { id: made.task, delayMs: 0, backwards: false }) };
}
