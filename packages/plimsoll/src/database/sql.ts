import type pg from 'pg';
import { PlimsollError } from '../kernel/errors.ts';

/**
 * A statement or a part of one, made only by the `sql` tag: every interpolated value becomes a parameter,
 * so input can never become SQL. Instances cannot be forged from JSON.
 */
export class Sql {
  readonly #strings: readonly string[];
  readonly #values: readonly unknown[];
  #compiled: CompiledSql | undefined;
  /** Text that came with its own `$1…`, so it is a whole statement and never a part of one. */
  readonly #whole: boolean;

  /** @internal Use the `sql` tag. */
  constructor(strings: readonly string[], values: readonly unknown[], compiled?: CompiledSql) {
    this.#strings = strings;
    this.#values = values;
    this.#compiled = compiled;
    this.#whole = compiled !== undefined;
  }

  /** Text with `$1…` placeholders and the values for them. */
  compile(): CompiledSql {
    this.#compiled ??= this.#values.some(isPart) ? this.#compose() : this.#fill();
    return this.#compiled;
  }

  #compose(): CompiledSql {
    const values: unknown[] = [];
    return { text: this.#append(values), values };
  }

  /** Without parts the text is always the same here, and what looks it up need not read it again. */
  #fill(): CompiledSql {
    const values = this.#values.map(parameter);
    let text = textOfSite.get(this.#strings);
    if (text === undefined) {
      text = this.#append([]);
      if ('raw' in this.#strings) textOfSite.set(this.#strings, text);
    }
    return { text, values };
  }

  #append(values: unknown[]): string {
    if (this.#whole) {
      throw new PlimsollError(
        'PL_SQL_VALUE',
        'sql: a statement of a query builder cannot be a part of another one; its parameters have their numbers already',
      );
    }
    let text = this.#strings[0] ?? '';
    for (const [index, value] of this.#values.entries()) {
      if (value instanceof Sql) text += value.#append(values);
      else text += `$${values.push(parameter(value))}`;
      text += this.#strings[index + 1] ?? '';
    }
    return text;
  }
}

/** By the place in the program where a statement without parts is written. */
const textOfSite = new WeakMap<readonly string[], string>();
const isPart = (value: unknown): boolean => value instanceof Sql;

export interface CompiledSql {
  readonly text: string;
  readonly values: readonly unknown[];
  /** Set by adapters of query builders only. */
  readonly driver?: DriverOptions;
  /** Under which a connection of our own keeps it; see {@link prepared}. */
  readonly name?: string;
}

/** @internal What a query builder asks of `pg` for one statement. */
export interface DriverOptions {
  /** Rows as arrays, for builders that map columns by place: two columns of one name both stay. */
  readonly rowMode?: 'array';
  /** How this statement's values are read; the connection's own parsers stay as they are. */
  readonly types?: pg.CustomTypesConfig;
  /** Gets the answer as `pg` gave it: rows, their number and the command at once. */
  readonly onResult?: (result: pg.QueryResult) => void;
}

function parameter(value: unknown): unknown {
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
    throw new PlimsollError(
      'PL_SQL_VALUE',
      `sql: a value of type ${typeof value} cannot be a parameter; use null for "no value"`,
    );
  }
  // pg writes JavaScript arrays as PostgreSQL arrays and other objects as JSON.
  return value;
}

function quoteIdentifier(name: string): string {
  if (name === '' || name.includes('\0')) {
    throw new PlimsollError('PL_SQL_VALUE', `sql.id: ${JSON.stringify(name)} cannot be an identifier`);
  }
  return `"${name.replaceAll('"', '""')}"`;
}

export interface SqlTag {
  (strings: TemplateStringsArray, ...values: readonly unknown[]): Sql;
  /** A quoted identifier: `sql.id('orders', 'line')` is `"orders"."line"`. */
  id(...names: readonly [string, ...string[]]): Sql;
  /** Parts with a separator between them; empty for no parts. */
  join(parts: readonly Sql[], separator?: Sql): Sql;
  /** A value sent as one JSON parameter, arrays included. */
  json(value: unknown): Sql;
  readonly empty: Sql;
}

function tag(strings: TemplateStringsArray, ...values: readonly unknown[]): Sql {
  // JavaScript gives `undefined` for text with an escape it cannot read.
  if (strings.includes(undefined as unknown as string)) {
    throw new PlimsollError(
      'PL_SQL_VALUE',
      `sql: an escape in ${JSON.stringify(strings.raw.join('…'))} is not valid in JavaScript; write two backslashes for one`,
    );
  }
  return new Sql(strings, values);
}

/** The `sql` template tag: values are parameters, nested `sql` is spliced in, nothing else is possible. */
export const sql: SqlTag = Object.assign(tag, {
  id: (...names: readonly [string, ...string[]]) => new Sql([names.map(quoteIdentifier).join('.')], []),
  join(parts: readonly Sql[], separator: Sql = new Sql([', '], [])): Sql {
    const values = parts.flatMap((part, index) => (index === 0 ? [part] : [separator, part]));
    return new Sql(
      Array.from({ length: values.length + 1 }, () => ''),
      values,
    );
  },
  json: (value: unknown) => new Sql(['', '::jsonb'], [JSON.stringify(value)]),
  empty: new Sql([''], []),
});

/** @internal Text that is known to be safe because it comes from a file of the program, such as a migration. */
export function trustedSql(text: string): Sql {
  return new Sql([text], []);
}

/** @internal A whole statement of a query builder: its text has `$1…` for the values, which stay parameters. */
export function parameterizedSql(text: string, values: readonly unknown[], driver?: DriverOptions): Sql {
  const compiled = { text, values: values.map(parameter), ...(driver === undefined ? {} : { driver }) };
  return new Sql([text], [], compiled);
}

/** By text; they are few. */
const names = new Map<string, string>();

/**
 * @internal For a statement of the runtime that is sent often and has few texts: the server parses and plans it once
 * for each connection, which for one of several parts is most of its cost. Where connections are not our own, or a
 * pooler is between, it is sent as any other.
 */
export function prepared(statement: Sql): Sql {
  const { text, values } = statement.compile();
  let name = names.get(text);
  if (name === undefined) {
    name = `plimsoll_${names.size + 1}`;
    names.set(text, name);
  }
  return new Sql([text], [], { text, values, name });
}
