/** A name as PostgreSQL stores it; without schema when the statement gives none. */
export interface SqlName {
  readonly schema: string | undefined;
  readonly name: string;
}

export interface SqlTable extends SqlName {
  /** Whether the statement may change its rows. */
  readonly written: boolean;
}

/** What a text touches. */
export interface StatementUse {
  readonly tables: readonly SqlTable[];
  /** Functions and sequences that are named with a schema. */
  readonly others: readonly SqlName[];
  /** Whether it has a `do` block, whose statements cannot be seen. */
  readonly hidden: boolean;
  /** Whether it changes the role, or begins or ends the transaction that the role is set for. */
  readonly escapes: boolean;
}

type Tree = Readonly<Record<string, unknown>>;
type Scope = ReadonlySet<string>;

const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** Of a syntax tree of libpg-query. Names of common table expressions are no tables where they are in scope. */
export function useOf(tree: unknown): StatementUse {
  const tables = new Map<string, SqlTable>();
  const others = new Map<string, SqlName>();
  let hidden = false;
  let escapes = false;
  const keyOf = ({ schema, name }: SqlName): string => `${schema ?? ''}\0${name}`;
  const add = (name: SqlName): void => void others.set(keyOf(name), name);
  const addTable = (name: SqlName, written: boolean): void => {
    const key = keyOf(name);
    tables.set(key, { ...name, written: written || tables.get(key)?.written === true });
  };

  function walk(value: unknown, scope: Scope): void {
    for (const item of listOf(value)) walk(item, scope);
    if (!isTree(value)) return;
    const inner = isTree(value['withClause']) ? withExpressions(value['withClause'], scope) : scope;
    for (const [key, child] of Object.entries(value)) {
      if (key === 'withClause') continue;
      // `for update of x` names an alias of the same statement.
      if (key === 'lockedRels') continue;
      visit(key, child, inner);
    }
  }

  function visit(key: string, child: unknown, scope: Scope): void {
    if (!isTree(child)) return walk(child, scope);
    if (typeof child['relname'] === 'string' && typeof child['relpersistence'] === 'string') {
      // A source in FROM is wrapped in its type; the target of a write is not, and is always a table.
      const source = key === 'RangeVar';
      const schema = child['schemaname'] ?? (child['relpersistence'] === 't' ? 'pg_temp' : undefined);
      if (source && schema === undefined && scope.has(child['relname'])) return;
      addTable({ schema: typeof schema === 'string' ? schema : undefined, name: child['relname'] }, !source);
      return;
    }
    if (key === 'DoStmt') hidden = true;
    if (key === 'VariableSetStmt' && setsRole(child['name'])) escapes = true;
    if (key === 'TransactionStmt' && !/SAVEPOINT|RELEASE|ROLLBACK_TO/.test(String(child['kind'])))
      escapes = true;
    if (key === 'FuncCall' || key === 'funccall') addFunction(child);
    if (key === 'TypeCast') addRegclass(child);
    if (key === 'DropStmt') addDropped(child);
    if (key === 'TruncateStmt') addTruncated(child);
    walk(child, scope);
  }

  /** The scope behind a WITH: each expression sees those before it, a recursive one all. */
  function withExpressions(clause: Tree, outer: Scope): Scope {
    const expressions = listOf(clause['ctes']).flatMap((entry) => {
      const expression = isTree(entry) ? entry['CommonTableExpr'] : undefined;
      return isTree(expression) && typeof expression['ctename'] === 'string'
        ? [{ name: expression['ctename'], query: expression['ctequery'] }]
        : [];
    });
    const all = new Set([...outer, ...expressions.map(({ name }) => name)]);
    const seen = new Set(outer);
    for (const { name, query } of expressions) {
      walk(query, clause['recursive'] === true ? all : new Set(seen));
      seen.add(name);
    }
    return all;
  }

  function addFunction(call: Tree): void {
    const names = stringsOf(call['funcname']);
    const [schema, name] = names;
    if (schema !== undefined && name !== undefined) add({ schema, name });
    const first = listOf(call['args'])[0];
    if (['nextval', 'currval', 'setval'].includes(names.at(-1) ?? '')) addQuoted(first);
    if (names.at(-1) === 'set_config' && setsRole(textOf(first))) escapes = true;
  }

  function addRegclass(cast: Tree): void {
    const type = isTree(cast['typeName']) ? stringsOf(cast['typeName']['names']).at(-1) : undefined;
    if (type === 'regclass') addQuoted(cast['arg']);
  }

  /** A name in a text, as `nextval` and `regclass` take it. */
  function addQuoted(argument: unknown): void {
    const [, schema, name] = /^"?([^".]+)"?\."?([^".]+)"?$/.exec(textOf(argument) ?? '') ?? [];
    if (schema !== undefined && name !== undefined) add({ schema, name });
  }

  function addTruncated(truncate: Tree): void {
    for (const relation of listOf(truncate['relations'])) {
      const source = isTree(relation) ? relation['RangeVar'] : undefined;
      if (isTree(source)) visit('relation', source, new Set());
    }
  }

  function addDropped(drop: Tree): void {
    if (!/^OBJECT_(TABLE|VIEW|MATVIEW|FOREIGN_TABLE)$/.test(String(drop['removeType']))) return;
    for (const object of listOf(drop['objects'])) {
      const list = isTree(object) ? object['List'] : undefined;
      const names = isTree(list) ? stringsOf(list['items']) : [];
      const name = names.at(-1);
      if (name !== undefined) addTable({ schema: names.at(-2), name }, true);
    }
  }

  walk(tree, new Set());
  return { tables: [...tables.values()], others: [...others.values()], hidden, escapes };
}

function stringsOf(list: unknown): readonly string[] {
  return listOf(list).flatMap((item) => {
    const text = isTree(item) && isTree(item['String']) ? item['String']['sval'] : undefined;
    return typeof text === 'string' ? [text] : [];
  });
}

/** Of a constant text. */
function textOf(argument: unknown): string | undefined {
  const constant = isTree(argument) ? argument['A_Const'] : undefined;
  const text = isTree(constant) && isTree(constant['sval']) ? constant['sval']['sval'] : undefined;
  return typeof text === 'string' ? text : undefined;
}

function setsRole(setting: unknown): boolean {
  return typeof setting === 'string' && /^(role|session_authorization)$/i.test(setting);
}
