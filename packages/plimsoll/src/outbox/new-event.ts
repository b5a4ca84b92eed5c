import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { RequestContext } from '../kernel/context.ts';
import { jsonCopy, type Wire } from '../kernel/json-copy.ts';
import { validateNow } from '../kernel/validate.ts';
import type { NewEvent } from './events.ts';

/** What of an event of a contract is needed to write one. */
export interface EventDeclaration<Payload extends StandardSchemaV1> {
  readonly kind: 'event';
  readonly id: string;
  readonly version: number;
  readonly payload: Payload;
  readonly key: ((payload: StandardSchemaV1.InferOutput<Payload>) => string) | undefined;
  readonly personal:
    | { readonly subject: (payload: StandardSchemaV1.InferOutput<Payload>) => string | undefined }
    | undefined;
}

/**
 * An event of a contract for {@link insertEvents}, where there is no `emit`: in the transactions of code outside
 * modules. The payload is checked at once, as its subscribers will read it, after JSON; PL_PAYLOAD_INVALID when
 * it does not match, PL_SCHEMA_ASYNC when its schema cannot tell at once. The context says on whose behalf:
 * `currentContext() ?? createContext()`.
 */
export function newEvent<Payload extends StandardSchemaV1>(
  context: RequestContext,
  event: EventDeclaration<Payload>,
  payload: StandardSchemaV1.InferInput<Payload>,
): NewEvent {
  return eventOver(jsonCopy, context, event, payload);
}

/** @internal {@link newEvent}, where something else than JSON may happen to the payload on its way. */
export function eventOver<Payload extends StandardSchemaV1>(
  wire: Wire,
  context: RequestContext,
  event: EventDeclaration<Payload>,
  payload: unknown,
): NewEvent {
  const { id: type, version } = event;
  const what = `payload of ${type}`;
  const valid = validateNow(event.payload, wire(payload ?? null, what), 'PL_PAYLOAD_INVALID', what);
  const { correlationId, causationId, operation, caller } = context;
  // The payload as given: transforms run once, where it is received.
  return {
    type,
    version,
    key: event.key?.(valid),
    subject: event.personal?.subject(valid),
    correlationId,
    causationId,
    operation,
    caller,
    payload: payload ?? null,
  };
}
