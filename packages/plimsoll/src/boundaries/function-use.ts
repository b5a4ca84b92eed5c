import type { FunctionRow, Relation } from './catalog-rows.ts';
import type { SqlParser } from './sql-parser.ts';
import { useOf, type StatementUse } from './statement-use.ts';

export interface FunctionUse {
  readonly relations: readonly Relation[];
  /** Other functions it calls by a name with a schema. */
  readonly calls: readonly Relation[];
}

/**
 * What the body of a function touches. Names without a schema are looked up as PostgreSQL would, in the
 * function's own search path; those that are no relation are its variables or transition tables.
 * Throws for a body that the grammar cannot read.
 */
export function functionUse(
  parser: SqlParser,
  row: FunctionRow,
  exists: (schema: string, name: string) => boolean,
): FunctionUse {
  const path = searchPathOf(row.searchPath);
  const relations = [...row.targets];
  const calls: Relation[] = [];
  for (const use of statementsOf(parser, row)) {
    for (const { schema, name } of use.tables) {
      const found = schema ?? path.find((candidate) => exists(candidate, name));
      if (found !== undefined) relations.push({ schema: found, name });
    }
    for (const { schema, name } of use.others) if (schema !== undefined) calls.push({ schema, name });
  }
  return { relations, calls };
}

function statementsOf(parser: SqlParser, { language, source, definition }: FunctionRow): StatementUse[] {
  if (source.trim() === '') return [];
  const texts = language === 'plpgsql' ? plpgsqlTexts(parser.parsePlpgsql(definition)) : [source];
  return texts.flatMap((text) => {
    try {
      return [useOf(parser.parse(text))];
    } catch (error) {
      if (language === 'sql') throw error;
      // What PL/pgSQL writes in its own way, such as a cursor's name, touches nothing by itself.
      return [];
    }
  });
}

/** Statements, expressions and assignments of a parsed PL/pgSQL function, each as a statement. */
function plpgsqlTexts(tree: unknown): readonly string[] {
  if (typeof tree !== 'object' || tree === null) return [];
  const { query, parseMode } = tree as { readonly query?: unknown; readonly parseMode?: unknown };
  if (typeof query === 'string') {
    if (parseMode === undefined || parseMode === 0) return [query];
    // 2 is an expression, 3 and more are assignments.
    return [`select ${parseMode === 2 ? query : query.replace(/^[^:=]*:?=/, '')}`];
  }
  return Object.values(tree).flatMap(plpgsqlTexts);
}

function searchPathOf(setting: string | null): readonly string[] {
  return (setting ?? 'public').split(',').map((name) => name.trim().replaceAll('"', ''));
}
