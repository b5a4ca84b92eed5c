import { filterColumns, sortColumn } from './filter-columns.ts';
import type { WholeScan } from './plan-tree.ts';
import { quoted } from './raw-sql.ts';

/** An index that could serve a scan. */
export interface IndexCandidate {
  readonly name: string;
  /** As in `create index`: `customer_id`, `placed_at desc`. */
  readonly columns: readonly string[];
}

/** More columns cost every write and rarely help. */
const maxColumns = 4;

/**
 * Columns compared for equality first, the one with most different values in front; then the order that is
 * asked for, or else one range. Narrow ones first. `distinct` is the share of different values of a column, 0 to 1.
 */
export function indexCandidates(
  scan: WholeScan,
  distinct: ReadonlyMap<string, number>,
): readonly IndexCandidate[] {
  const { equal, range } = filterColumns(scan.filter, scan.alias);
  const share = (column: string): number => distinct.get(column.replaceAll('"', '')) ?? 0;
  const first = equal.toSorted((a, b) => share(b) - share(a)).slice(0, maxColumns);
  const order = scan.sortKey.map((key) => sortColumn(key, scan.alias));
  const sorted = order.every((column) => column !== undefined)
    ? order.filter((column) => !first.includes(column.split(' ')[0] ?? ''))
    : [];
  const ranges = range.toSorted((a, b) => share(b) - share(a)).slice(0, 1);
  const lists = [first, [...first, ...ranges], ranges.length === 0 ? [...first, ...sorted] : []];
  const seen = new Set<string>();
  return lists
    .filter((columns) => columns.length > 0 && columns.length <= maxColumns)
    .filter((columns) => {
      const key = columns.join();
      return !seen.has(key) && seen.add(key);
    })
    .map((columns) => ({ name: indexName(scan.table, columns), columns }));
}

/** PostgreSQL cuts names at 63 bytes. */
function indexName(table: string, columns: readonly string[]): string {
  const names = columns.map((column) => (column.split(' ')[0] ?? '').replaceAll('"', ''));
  return `${table}_by_${names.join('_')}`.slice(0, 60);
}

/** Never a reserved word: it has `_by_` in it. */
const shown = (name: string): string => (/^[a-z_][a-z0-9_$]*$/.test(name) ? name : quoted(name));

export function createIndexSql(
  /** Quoted where it needs to be. */
  table: string,
  { name, columns }: IndexCandidate,
  options: { readonly concurrently: boolean },
): string {
  const how = options.concurrently ? 'create index concurrently' : 'create index';
  return `${how} ${shown(name)} on ${table} (${columns.join(', ')})`;
}
