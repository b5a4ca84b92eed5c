import { background } from '../kernel/channels.ts';
import type { RequestContext } from '../kernel/context.ts';
import { PlimsollError, type Problem } from '../kernel/errors.ts';
import { isOfView, placesProblems, viewName } from '../views/place.ts';
import type { TouchedTable } from './invalidation-check.ts';
import type { Module } from './module.ts';

/** What is wrong with the views of the modules and with what their queries say they read. */
export function viewProblems(modules: readonly Module[]): readonly Problem[] {
  const problems: Problem[] = modules.flatMap(moduleProblems);
  problems.push(...placesProblems(modules.flatMap(({ views }) => views)));
  return problems;
}

function moduleProblems(module: Module): readonly Problem[] {
  const problems: Problem[] = [];
  const add = (path: string, message: string): void =>
    void problems.push({ path: `modules.${module.name}.${path}`, message });
  for (const { view } of module.views)
    for (const { id, contract } of view.events.values())
      if (!module.uses.has(contract))
        add(`views.${view.name}`, `is made from ${id}, but ${contract} is not in uses`);
  const own = new Set(module.views.map(viewName));
  for (const [query, names] of Object.entries(module.reads)) {
    if (module.queries[query] === undefined) add(`reads.${query}`, `there is no query ${query}`);
    for (const name of names)
      if (!own.has(name)) add(`reads.${query}`, `${name} is not among the module's views`);
  }
  return problems;
}

/**
 * A check of the tables of each statement: a query reads a view only if its module says so in `reads`, because then it
 * waits for what its caller has written; and nobody writes to a view but its builder.
 */
export function createViewUse(
  modules: readonly Module[],
  scope: object,
  refuse: boolean,
): (context: RequestContext, tables: readonly TouchedTable[]) => void {
  const byName = new Map(modules.filter(({ views }) => views.length > 0).map((each) => [each.name, each]));
  // What was told already, where it is only told.
  const told = new Set<string>();
  return ({ operation }, tables) => {
    if (operation === undefined) return;
    const dot = operation.indexOf('.');
    const module = byName.get(operation.slice(0, dot));
    if (module === undefined) return;
    for (const { table, written } of tables) {
      const wrong = wrongUse(module, operation.slice(dot + 1), table, written);
      if (wrong === undefined) continue;
      const error = new PlimsollError('PL_VIEW_USE', `${operation} ${wrong}`, { data: { operation, table } });
      if (refuse) throw error;
      const id = `${operation} ${table} ${written}`;
      if (told.has(id) || !background.hasSubscribers) continue;
      told.add(id);
      background.publish({ scope, what: `statement of ${operation}`, error });
    }
  };
}

function wrongUse(module: Module, member: string, table: string, written: boolean): string | undefined {
  const place = module.views.find(
    ({ schema, view }) =>
      table.startsWith(`${schema}.`) && isOfView(view.name, table.slice(schema.length + 1)),
  );
  if (place === undefined) return undefined;
  const { name } = place.view;
  if (written)
    return `writes to ${table}, a table of the view ${viewName(place)}, which is built from events only; emit an event that the view is made from`;
  if (table !== viewName(place))
    return `reads ${table}, a table of one version; read ${viewName(place)}, which is the live one`;
  if (module.reads[member]?.includes(table) === true) return undefined;
  return module.queries[member] === undefined
    ? `reads the view ${table}, which follows its events by a moment, and must not decide by it; call a query that reads it, which waits, or read the tables that the events came from`
    : `reads the view ${table} and does not wait for what its caller has written; add reads: { ${member}: [${name}] } to the module`;
}
