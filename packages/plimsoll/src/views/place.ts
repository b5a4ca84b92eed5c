import { sql, type Sql } from '../database/sql.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import type { View } from './view.ts';

/** A view in the schema where its tables are. */
export interface PlacedView {
  readonly schema: string;
  readonly view: View;
}

/** The name that queries read: `orders.summary`. */
export function viewName({ schema, view }: PlacedView): string {
  return `${schema}.${view.name}`;
}

/** Of one declaration among all versions: `orders.summary@2`. */
export function versionName(schema: string, name: string, version: number): string {
  return `${schema}.${name}@${version}`;
}

/** Whose progress in the log this is, for those who ask what may be dropped. */
export function readerName(schema: string, table: string): string {
  return `view:${schema}.${table}`;
}

/** Holds the log from its first event on, while somebody may want to build the view again. */
export function historyName(schema: string, name: string): string {
  return `view:${schema}.${name}:history`;
}

export function tableSql(schema: string, table: string): Sql {
  return sql.id(schema, table);
}

/** Whether a relation is one of a view of this name: the view itself, or a table of one of its versions. */
export function isOfView(name: string, relation: string): boolean {
  return relation === name || new RegExp(`^${name}_v[0-9]+(_[0-9]+)?$`).test(relation);
}

/** What is wrong with several views in one list: each version once, and no view under the name of another's table. */
export function placesProblems(places: readonly PlacedView[]): readonly Problem[] {
  const problems: Problem[] = [];
  for (const [index, { schema, view }] of places.entries()) {
    const path = `views[${index}]`;
    for (const other of places.slice(0, index)) {
      if (other.schema !== schema) continue;
      const { name } = other.view;
      if (name === view.name && other.view.version === view.version)
        problems.push({ path, message: `${name} version ${view.version} is listed twice` });
      if (name !== view.name && (isOfView(name, view.name) || isOfView(view.name, name)))
        problems.push({ path, message: `${view.name} is named as a table of ${name} is, or the other way` });
    }
  }
  return problems;
}

export function assertPlaces(places: readonly PlacedView[]): void {
  throwIfProblems('the list of views', placesProblems(places));
}
