import { background } from '../kernel/channels.ts';
import { currentContext, type RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import type { TouchedTable } from '../modules/invalidation-check.ts';
import { ownersOf, runtimeSchema, type Owned } from './owners.ts';
import type { SqlParser } from './sql-parser.ts';
import { useOf, type SqlName, type SqlTable, type StatementUse } from './statement-use.ts';

export interface StatementGuardOptions {
  readonly modules: readonly Owned[];
  readonly parser: SqlParser;
  /** Whose findings these are, in the background channel. */
  readonly scope: object;
  /** Whether a foreign table is PL_FOREIGN_TABLE before the statement is sent, only told, or nothing. */
  readonly foreign: 'refuse' | 'report' | 'off';
  /** Told of the tables of each statement of a handler. */
  readonly onTables?: (context: RequestContext, tables: readonly TouchedTable[]) => void;
  /** Whether handlers run as roles: then what changes the role or ends its transaction is always refused. Default false. */
  readonly roles?: boolean;
  /** Texts whose verdict is remembered. Default 2000. */
  readonly maxTexts?: number;
  /** Characters of all remembered texts together. Default 4_000_000. */
  readonly maxCharacters?: number;
}

interface Verdict {
  /** Undefined when the grammar cannot read the text. */
  readonly use: StatementUse | undefined;
  /** By module: what is wrong, or nothing. */
  readonly byModule: Map<string, string | undefined>;
  readonly tables: readonly TouchedTable[];
}

export const guardDefaults = { maxTexts: 2000, maxCharacters: 4_000_000 } as const;

const open = /^(pg_catalog|information_schema|pg_temp|pg_toast)$/;

/**
 * A check of every statement that a handler sends: the tables it names against what the running module owns.
 * Each text is parsed once. Texts outside a module's handler are let through, and so is a text that the
 * grammar cannot read: PostgreSQL itself refuses it or knows better.
 */
export function createStatementGuard(options: StatementGuardOptions): (text: string) => void {
  const { parser, scope, foreign, onTables, roles = false } = options;
  const { maxTexts = guardDefaults.maxTexts, maxCharacters = guardDefaults.maxCharacters } = options;
  const owners = ownersOf(options.modules);
  const modules = new Map(options.modules.map((module) => [module.name, module]));
  // In the order of their first use; the oldest goes first.
  const verdicts = new Map<string, Verdict>();
  let characters = 0;

  function verdictOf(text: string): Verdict {
    const known = verdicts.get(text);
    if (known !== undefined) return known;
    const use = read(text);
    const verdict: Verdict = { use, byModule: new Map(), tables: use?.tables.map(touchedBy) ?? [] };
    verdicts.set(text, verdict);
    characters += text.length;
    for (const oldest of verdicts.keys()) {
      if (verdicts.size <= maxTexts && characters <= maxCharacters) break;
      verdicts.delete(oldest);
      characters -= oldest.length;
    }
    return verdict;
  }

  function read(text: string): StatementUse | undefined {
    try {
      return useOf(parser.parse(text));
    } catch {
      return undefined;
    }
  }

  function wrongOf(module: Owned, use: StatementUse): string | undefined {
    const tables = use.tables.flatMap((table) => {
      const { schema, name } = resolve(table);
      if (open.test(schema) || module.ownsTable(schema, name)) return [];
      return [`${schema}.${name} (${ownedBy(owners.table(schema, name))})`];
    });
    const others = use.others.flatMap(({ schema = 'public', name }) => {
      const owner = owners.schema(schema);
      return owner === undefined || owner === module.name ? [] : [`${schema}.${name} (${ownedBy(owner)})`];
    });
    const all = [
      ...tables,
      ...others,
      ...(use.hidden ? ['a do block, whose statements cannot be seen'] : []),
    ];
    return all.length === 0 ? undefined : all.join(', ');
  }

  return (text) => {
    const context = currentContext();
    const operation = context?.operation;
    const module = operation === undefined ? undefined : modules.get(operation.split('.', 1)[0] ?? '');
    if (context === undefined || operation === undefined || module === undefined) return;
    const { use, byModule, tables } = verdictOf(text);
    onTables?.(context, tables);
    if (roles && use?.escapes === true) throw escape(operation, module.name, text);
    if (foreign === 'off') return;
    const refuse = foreign === 'refuse';
    const isNew = !byModule.has(module.name);
    if (isNew) byModule.set(module.name, use === undefined ? undefined : wrongOf(module, use));
    const wrong = byModule.get(module.name);
    if (wrong === undefined || !(refuse || isNew)) return;
    const error = new PlimsollError(
      'PL_FOREIGN_TABLE',
      `${operation} touches ${wrong}: a module touches only what it owns; call the owner, or keep a copy by its events: ${text.trim().slice(0, 200)}`,
      { data: { operation, module: module.name } },
    );
    if (refuse) throw error;
    if (background.hasSubscribers) background.publish({ scope, what: `statement of ${operation}`, error });
  };
}

function escape(operation: string, module: string, text: string): PlimsollError {
  return new PlimsollError(
    'PL_FOREIGN_TABLE',
    `${operation} changes its role or ends its transaction, which holds the role; leave both to the runtime: ${text.trim().slice(0, 200)}`,
    { data: { operation, module } },
  );
}

function touchedBy(table: SqlTable): TouchedTable {
  const { schema, name } = resolve(table);
  return { table: `${schema}.${name}`, written: table.written };
}

/** PostgreSQL looks into its own catalog first; for the rest a module has no search path, so it is `public`. */
function resolve({ schema, name }: SqlName): { readonly schema: string; readonly name: string } {
  return { schema: schema ?? (name.startsWith('pg_') ? 'pg_catalog' : 'public'), name };
}

function ownedBy(owner: string | undefined): string {
  if (owner === undefined) return 'owned by no module';
  return owner === runtimeSchema ? 'owned by the runtime' : `owned by ${owner}`;
}
