import type { App } from '../app/app.ts';
import { createClient } from '../client/client.ts';
import type { Authenticate } from '../gateway/authentication.ts';
import type { Route } from '../gateway/route.ts';
import { createContext, currentContext, runInContext, sameWork, type Caller } from '../kernel/context.ts';
import type { AnyOperation } from '../modules/contract.ts';
import { isFailure } from '../modules/invocation.ts';
import { answerLost } from './faulty-module.ts';
import type { Faults } from './faults.ts';

/** A call of the test itself, in the context that is there. */
type OutsideCall = (operation: AnyOperation, input: unknown) => Promise<unknown>;

/** Calls go to the apps in turn, as behind a load balancer. */
export function inTurn(apps: readonly App[]): OutsideCall {
  let turn = 0;
  return async (operation, input) => {
    const app = apps[turn % apps.length];
    turn += 1;
    return app?.call(operation, input);
  };
}

const callerHeader = 'x-test-caller';

/** Over HTTP where there is a route; the caller, the key and the correlation id go along. */
export function overHttp(app: App, routes: readonly Route[]): OutsideCall {
  const routed = new Set(routes.filter(({ enqueue }) => enqueue !== true).map(({ operation }) => operation));
  return async (operation, input) => {
    if (!routed.has(operation)) return app.call(operation, input);
    const context = currentContext() ?? createContext();
    const { caller, key, correlationId, signal, keyIsStable } = context;
    const keySuffix = operation.kind === 'command' ? context.nextCallSuffix(operation.id) : '';
    const client = createClient({
      baseUrl: app.url,
      routes,
      headers: { [callerHeader]: Buffer.from(JSON.stringify(caller)).toString('base64url') },
    });
    return client.call(operation, input, {
      ...(keyIsStable ? { idempotencyKey: key + keySuffix } : {}),
      correlationId,
      ...(signal === undefined ? {} : { signal }),
    });
  };
}

/** Believes what {@link overHttp} says of its caller. */
export const believeCaller: Authenticate = async ({ headers }) => {
  const given = headers[callerHeader];
  return typeof given === 'string'
    ? (JSON.parse(Buffer.from(given, 'base64url').toString('utf8')) as Caller)
    : undefined;
};

/**
 * What a fault has rolled back is called again, under the same key, as a client would that was told 503. Its
 * own answers are lost only where `outside-answer-lost` says so, and then the test must look for the effect.
 */
export function throughFaults(call: OutsideCall, faults: Faults): OutsideCall {
  return (operation, input) => {
    const context = currentContext() ?? createContext();
    const keySuffix = operation.kind === 'command' ? context.nextCallSuffix(operation.id) : '';
    return runInContext(context, async () => {
      const again = (): Promise<unknown> =>
        runInContext(sameWork(context, keySuffix), () => call(operation, input));
      const result = await untilNoFault(again, faults, context.correlationId);
      if (operation.kind === 'command' && !isFailure(result)) {
        const run = faults.begin(`outside/${operation.id}`, context);
        if (run.hits('outside-answer-lost', 0, 'after the commit')) throw answerLost(operation);
      }
      return result;
    });
  };
}

/** Ends, because faults do: a piece of work meets only so many. */
async function untilNoFault(
  attempt: () => Promise<unknown>,
  faults: Faults,
  correlationId: string,
): Promise<unknown> {
  for (;;) {
    const met = faults.met(correlationId);
    try {
      return await attempt();
    } catch (error) {
      if (faults.met(correlationId) === met) throw error;
    }
  }
}
