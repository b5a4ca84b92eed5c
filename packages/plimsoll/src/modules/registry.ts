import { PlimsollError, throwIfProblems, type Problem } from '../kernel/errors.ts';
import type { AnySaga } from '../saga/saga.ts';
import { membersOf, type AnyOperation } from './contract.ts';
import type { Module, Subscription } from './module.ts';
import { overlapProblems } from './ownership.ts';
import { subscriptionProblems } from './subscription-problems.ts';
import { viewProblems } from './view-use.ts';

/** All modules of one app, checked once. */
export interface Registry {
  readonly modules: readonly Module[];
  /** The module that implements the operation; PL_UNKNOWN_OPERATION when none does. */
  owner(operation: AnyOperation): Module;
  /** Operations by id, for work that arrives by name: jobs. */
  readonly operations: ReadonlyMap<string, AnyOperation>;
  /** By task name: `orders.charge`. */
  readonly subscriptions: ReadonlyMap<
    string,
    { readonly module: Module; readonly subscription: Subscription }
  >;
  /** By name: `orders.checkout`. */
  readonly sagas: ReadonlyMap<string, { readonly module: string; readonly saga: AnySaga }>;
}

/** Reports every problem of the set of modules at once, as PL_CONFIG. */
export function createRegistry(modules: readonly Module[]): Registry {
  const problems: Problem[] = [];
  const byName = new Map<string, Module>();
  const operations = new Map<string, AnyOperation>();
  const subscriptions = new Map<string, { module: Module; subscription: Subscription }>();

  const sagas = new Map<string, { module: string; saga: AnySaga }>();

  for (const module of modules) {
    const path = `modules.${module.name}`;
    if (byName.has(module.name)) problems.push({ path, message: 'is listed twice' });
    byName.set(module.name, module);
    for (const member of membersOf(module.contract)) {
      if (member.kind === 'event') continue;
      operations.set(member.id, member);
      const key = member.id.slice(module.name.length + 1);
      const handlers = member.kind === 'command' ? module.commands : module.queries;
      if (typeof handlers[key] !== 'function')
        problems.push({ path: `${path}.${key}`, message: `the ${member.kind} has no handler` });
    }
    for (const subscription of module.subscriptions) {
      const name = `${module.name}.${subscription.options.name}`;
      if (subscriptions.has(name) || operations.has(name))
        problems.push({
          path: `${path}.on`,
          message: `the name ${JSON.stringify(subscription.options.name)} is taken; give each subscription its own, unlike any operation`,
        });
      if (!module.uses.has(subscription.event.contract))
        problems.push({
          path: `${path}.on.${subscription.options.name}`,
          message: `subscribes to ${subscription.event.id}, but ${subscription.event.contract} is not in uses`,
        });
      problems.push(...subscriptionProblems(subscription, `${path}.on.${subscription.options.name}`));
      subscriptions.set(name, { module, subscription });
    }
  }
  for (const module of modules) {
    for (const [key, saga] of Object.entries(module.sagas)) {
      const name = `${module.name}.${key}`;
      const path = `modules.${module.name}.sagas.${key}`;
      if (operations.has(name) || subscriptions.has(name))
        problems.push({
          path,
          message: 'the name is taken by an operation or a subscription; give it its own',
        });
      if ([...sagas.values()].some((other) => other.saga === saga))
        problems.push({ path, message: 'the saga is listed already; declare one for each name' });
      for (const used of saga.uses)
        if (!module.uses.has(used))
          problems.push({ path, message: `uses ${used}, which is not in uses of the module` });
      sagas.set(name, { module: module.name, saga });
    }
  }
  problems.push(...overlapProblems(modules), ...viewProblems(modules));
  for (const module of modules) {
    for (const used of module.uses) {
      if (!byName.has(used))
        problems.push({
          path: `modules.${module.name}.uses`,
          message: `no module implements the contract ${JSON.stringify(used)}`,
        });
    }
  }
  throwIfProblems('the set of modules', problems);

  return {
    modules,
    operations,
    subscriptions,
    sagas,
    owner(operation) {
      const module = byName.get(operation.contract);
      // The same value, not only the same name: a second contract of that name is another contract.
      if (module === undefined || operations.get(operation.id) !== operation) {
        throw new PlimsollError(
          'PL_UNKNOWN_OPERATION',
          `no module of this app implements ${operation.id}; list its module in the plan`,
          { data: { operation: operation.id } },
        );
      }
      return module;
    },
  };
}
