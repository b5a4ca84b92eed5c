import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { createContext, currentContext } from '../kernel/context.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import type { AnyEvent, Input } from '../modules/contract.ts';
import type { Module } from '../modules/module.ts';
import { validateNow } from '../modules/validate.ts';
import { insertEvents } from '../outbox/events.ts';

export interface TestModuleOptions {
  /** A fake, or the real module, for each contract it uses, by the contract's name. Default: none. */
  readonly uses?: Readonly<Record<string, Module>>;
  /** An empty database; it gets the module's migrations and those of the runtime. */
  readonly database: { readonly url: string };
}

/** An app of one module. */
export interface TestedModule extends App {
  /** Publishes an event as its module would, for the subscriptions of the tested one. */
  publish<Ev extends AnyEvent>(event: Ev, payload: Input<Ev['payload']>): Promise<void>;
}

/**
 * Runs one module alone on a real database, with fakes for what it uses. Calls inside a transaction throw
 * and what goes between modules goes through JSON, whatever NODE_ENV is. Stop it when the test ends; it is
 * an `AsyncDisposable`.
 */
export async function testModule(tested: Module, options: TestModuleOptions): Promise<TestedModule> {
  const uses = Object.entries(options.uses ?? {});
  const problems: Problem[] = uses
    .filter(([name, used]) => used.name !== name)
    .map(([name, used]) => ({
      path: `uses.${name}`,
      message: `implements the contract ${JSON.stringify(used.name)}; list it by that name`,
    }));
  for (const name of tested.uses) {
    if (name !== tested.name && options.uses?.[name] === undefined)
      problems.push({ path: `uses.${name}`, message: `is missing; give fake(${name}, { … })` });
  }
  throwIfProblems(`the test of ${tested.name}`, problems);

  const app = createApp(
    plan({
      name: `test-${tested.name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
      modules: [tested, ...uses.map(([, used]) => used)],
      worker: { pollMs: 20, backoff: { baseMs: 1, maxMs: 10 } },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0.01 } },
    }),
    { databaseUrl: options.database.url, listen: false, strictCalls: true, jsonCalls: true },
  );
  try {
    await app.start();
  } catch (error) {
    await app.stop();
    throw error;
  }
  const own: Pick<TestedModule, 'publish'> = {
    async publish(event, payload) {
      const valid: unknown = validateNow(
        event.payload,
        payload,
        'PL_PAYLOAD_INVALID',
        `payload of ${event.id}`,
      );
      const { correlationId, causationId, caller } = currentContext() ?? createContext();
      await app.database.execute(
        insertEvents([
          {
            type: event.id,
            version: event.version,
            key: event.key?.(valid),
            correlationId,
            causationId,
            caller,
            payload: payload ?? null,
          },
        ]),
      );
    },
  };
  return Object.defineProperties(own, Object.getOwnPropertyDescriptors(app)) as TestedModule;
}
