import { PlimsollError, throwIfProblems, type Problem } from '../kernel/errors.ts';
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
}

/** Reports every problem of the set of modules at once, as PL_CONFIG. */
export function createRegistry(modules: readonly Module[]): Registry {
  const problems: Problem[] = [];
  const byName = new Map<string, Module>();
  const operations = new Map<string, AnyOperation>();
  const subscriptions = new Map<string, { module: Module; subscription: Subscription }>();

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
