import type { Queryable } from 'plimsoll/database';
import { rawSql } from './raw-sql.ts';

/** The fields of `explain (format json, verbose)` that the doctor reads. */
export interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Total Cost': number;
  readonly 'Plan Rows': number;
  readonly Schema?: string;
  readonly 'Relation Name'?: string;
  readonly Alias?: string;
  readonly 'Index Name'?: string;
  readonly 'Index Cond'?: string;
  readonly Filter?: string;
  readonly 'Sort Key'?: readonly string[];
  readonly 'Workers Planned'?: number;
  readonly Plans?: readonly PlanNode[];
}

/**
 * The generic plan of a text with `$n` placeholders (PostgreSQL 16 and newer). Nothing is run. Needs a session
 * whose transactions are read-only: the text is not ours.
 */
export async function explain(session: Queryable, text: string): Promise<PlanNode> {
  const row = await session.one<{ readonly 'QUERY PLAN': readonly { readonly Plan: PlanNode }[] }>(
    rawSql(`explain (generic_plan, verbose, format json) ${text}`),
  );
  const plan = row['QUERY PLAN'][0]?.Plan;
  if (plan === undefined) throw new TypeError('explain gave no plan');
  return plan;
}

/** A table that is read whole, and what is done to its rows. */
export interface WholeScan {
  /** `Seq Scan`, or `Index Scan using …` where the index only gives an order. */
  readonly node: string;
  readonly schema: string;
  readonly table: string;
  readonly alias: string;
  readonly filter: string;
  /** Estimated rows that pass the filter, over all parallel workers. */
  readonly keptRows: number;
  /** Of the sort directly above; empty without one. */
  readonly sortKey: readonly string[];
}

export function wholeScans(plan: PlanNode): readonly WholeScan[] {
  return visit(plan, 1, []);
}

function visit(node: PlanNode, workers: number, sortKey: readonly string[]): readonly WholeScan[] {
  const below = node['Workers Planned'] === undefined ? workers : parallelDivisor(node['Workers Planned']);
  const { Schema: schema, 'Relation Name': table, Alias: alias, Filter: filter } = node;
  const own =
    readsWhole(node) && schema !== undefined && table !== undefined && filter !== undefined
      ? [
          {
            node: nodeName(node),
            schema,
            table,
            alias: alias ?? table,
            filter,
            keptRows: Math.round(node['Plan Rows'] * below),
            sortKey,
          },
        ]
      : [];
  const children = node.Plans ?? [];
  // A sort orders the rows of the scan itself only where nothing but gathering stands between.
  const through = node['Sort Key'] ?? (node['Node Type'].startsWith('Gather') ? sortKey : []);
  const handed = children.length === 1 ? through : [];
  return [...own, ...children.flatMap((child) => visit(child, below, handed))];
}

const readsWhole = (node: PlanNode): boolean =>
  node['Node Type'] === 'Seq Scan' ||
  (node['Node Type'] === 'Index Scan' && node['Index Cond'] === undefined);

export const nodeName = (node: PlanNode): string =>
  node['Index Name'] === undefined ? node['Node Type'] : `${node['Node Type']} using ${node['Index Name']}`;

/** How the planner divides the rows of a parallel scan: the leader helps, less the more workers it serves. */
const parallelDivisor = (workers: number): number => workers + Math.max(0, 1 - 0.3 * workers);

export interface TableName {
  readonly schema: string;
  readonly table: string;
}

/** Every table of the plan once. */
export function tablesOf(plan: PlanNode): readonly TableName[] {
  const found = new Map<string, TableName>();
  const walk = (node: PlanNode): void => {
    const { Schema: schema, 'Relation Name': table } = node;
    if (schema !== undefined && table !== undefined) found.set(`${schema}.${table}`, { schema, table });
    node.Plans?.forEach(walk);
  };
  walk(plan);
  return [...found.values()];
}

export function usesIndex(plan: PlanNode, name: string): boolean {
  return plan['Index Name'] === name || (plan.Plans ?? []).some((child) => usesIndex(child, name));
}
