import { createApp, type App } from '../app/app.ts';
import { plan, type Plan } from '../app/plan.ts';
import type { Route } from '../gateway/route.ts';
import { createContext, currentContext } from '../kernel/context.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import { asIs } from '../kernel/json-copy.ts';
import { createLifecycle, extendLifecycle } from '../kernel/lifecycle.ts';
import type { AnyEvent, Input } from '../modules/contract.ts';
import type { Module } from '../modules/module.ts';
import { insertEvents } from '../outbox/events.ts';
import { eventOver } from '../outbox/new-event.ts';
import { createFaultServer } from './fault-server.ts';
import type { Faults } from './faults.ts';
import { faultyModule } from './faulty-module.ts';
import { believeCaller, inTurn, overHttp, throughFaults } from './outside-calls.ts';
import type { Placement } from './placements.ts';

export interface TestModuleOptions {
  /** A fake, or the real module, for each contract it uses, by the contract's name. Default: none. */
  readonly uses?: Readonly<Record<string, Module>>;
  /** An empty database; it gets the module's migrations and those of the runtime. */
  readonly database: { readonly url: string };
  /** Where its parts are. Default `json`. */
  readonly placement?: Placement;
  /** Those of the plan, for the placement `http`; of other modules' operations they are left out. Default: none. */
  readonly routes?: readonly Route[];
  /** What goes wrong in the handlers of the tested module; from `underFaults`. Default: nothing. */
  readonly faults?: Faults;
}

/** An app of one module. */
export interface TestedModule extends App {
  /** Publishes an event as its module would, for the subscriptions of the tested one. */
  publish<Ev extends AnyEvent>(event: Ev, payload: Input<Ev['payload']>): Promise<void>;
}

/**
 * Runs one module alone on a real database, with fakes for what it uses. Calls inside a transaction throw
 * and what goes between modules goes through JSON, whatever NODE_ENV is, unless `placement` says otherwise.
 * Stop it when the test ends; it is an `AsyncDisposable`. PL_CONFIG when the options do not fit the module.
 */
export async function testModule(tested: Module, options: TestModuleOptions): Promise<TestedModule> {
  const { placement = 'json', faults } = options;
  throwIfProblems(`the test of ${tested.name}`, problemsOf(tested, options));

  const server = faults === undefined ? undefined : createFaultServer(options.database.url);
  const underTest =
    faults === undefined || server === undefined ? tested : faultyModule(tested, faults, server);
  const thePlan = planOf(underTest, options);
  const instance = (): App =>
    createApp(thePlan, {
      databaseUrl: options.database.url,
      listen: placement === 'http',
      strictCalls: true,
      jsonCalls: placement !== 'inline',
    });
  const app = instance();
  const apps = placement === 'two-instances' ? [app, instance()] : [app];
  const call = placement === 'http' ? overHttp(app, thePlan.http.routes) : inTurn(apps);

  const lifecycle = createLifecycle({
    name: `the test of ${tested.name}`,
    async start() {
      await server?.open();
      // One after the other: the first one migrates.
      for (const each of apps) await each.start();
    },
    drain: async () => void (await Promise.all(apps.map((each) => each.drain()))),
    async stop() {
      const ended = await Promise.allSettled(apps.map((each) => each.stop()));
      await server?.close();
      for (const end of ended) if (end.status === 'rejected') throw end.reason;
    },
  });
  await lifecycle.start();
  const own: Pick<TestedModule, 'publish' | 'call'> = {
    call: (faults === undefined ? call : throughFaults(call, faults)) as App['call'],
    async publish(event, payload) {
      const context = currentContext() ?? createContext();
      await app.database.execute(insertEvents([eventOver(asIs, context, event, payload)]));
    },
  };
  const extended = { ...Object.getOwnPropertyDescriptors(app), ...Object.getOwnPropertyDescriptors(own) };
  return extendLifecycle(lifecycle, Object.defineProperties({}, extended) as TestedModule);
}

function planOf(tested: Module, { uses = {}, placement, routes = [] }: TestModuleOptions): Plan {
  const modules = [tested, ...Object.values(uses)];
  const names = new Set(modules.map(({ name }) => name));
  return plan({
    name: `test-${tested.name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    modules,
    worker: { pollMs: 20, backoff: { baseMs: 1, maxMs: 10 } },
    ...(placement === 'http'
      ? {
          http: {
            port: 0,
            routes: routes.filter(({ operation }) => names.has(operation.contract)),
            authenticate: believeCaller,
          },
        }
      : {}),
    expectedPeak: { requestsPerSecond: 1 },
    objectives: { default: { p95Ms: 1_000, errorRate: 0.01 } },
  });
}

function problemsOf(tested: Module, { uses = {}, placement, routes = [] }: TestModuleOptions): Problem[] {
  const problems: Problem[] = Object.entries(uses)
    .filter(([name, used]) => used.name !== name)
    .map(([name, used]) => ({
      path: `uses.${name}`,
      message: `implements the contract ${JSON.stringify(used.name)}; list it by that name`,
    }));
  for (const name of tested.uses) {
    if (name !== tested.name && uses[name] === undefined)
      problems.push({ path: `uses.${name}`, message: `is missing; give fake(${name}, { … })` });
  }
  if (placement === 'http' && !routes.some(({ operation }) => operation.contract === tested.name))
    problems.push({
      path: 'routes',
      message: `none leads to ${tested.name}; give those of the plan, or leave out the placement http`,
    });
  return problems;
}
