/** The columns of one table that a filter of a plan restricts. */
export interface FilterColumns {
  readonly equal: readonly string[];
  readonly range: readonly string[];
}

const identifier = String.raw`(?:[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")`;
const cast = String.raw`(?:::[a-z_ ]+(?:\(\d+\))?(?:\[\])?)?`;

/**
 * Reads a filter as PostgreSQL prints it, with qualified names (`explain verbose`):
 * `((o.status = $2) AND (o.customer_id = $1))`. What it does not understand restricts nothing: an expression,
 * an OR, a comparison of two columns.
 */
export function filterColumns(filter: string, alias: string): FilterColumns {
  const equal = new Set<string>();
  const range = new Set<string>();
  for (const condition of conditionsOf(filter)) {
    const found = compared(condition, alias);
    if (found?.kind === 'equal') equal.add(found.column);
    else if (found?.kind === 'range') range.add(found.column);
  }
  return { equal: [...equal], range: [...range].filter((column) => !equal.has(column)) };
}

/** A column of `alias` in a sort key, such as `o.placed_at DESC`, ready for an index; else undefined. */
export function sortColumn(key: string, alias: string): string | undefined {
  const pattern = new RegExp(`^${column(alias)}( DESC)?( NULLS (?:FIRST|LAST))?$`);
  const match = pattern.exec(key);
  if (match === null) return undefined;
  return `${match[1] ?? ''}${(match[2] ?? '').toLowerCase()}${(match[3] ?? '').toLowerCase()}`;
}

/** PostgreSQL quotes what is a reserved word or not plain; the plan's `Alias` is without quotes. */
const aliasForms = (alias: string): readonly string[] => [alias, `"${alias.replaceAll('"', '""')}"`];

const column = (alias: string): string => `(?:${aliasForms(alias).map(escaped).join('|')})\\.(${identifier})`;
const escaped = (text: string): string => text.replaceAll(/[$.*+?^(){}|[\]\\]/g, '\\$&');

function compared(
  condition: string,
  alias: string,
): { readonly column: string; readonly kind: 'equal' | 'range' } | undefined {
  const own = `(?:${column(alias)}|\\(${column(alias)}\\)${cast})`;
  const isNull = new RegExp(`^${own} IS NULL$`).exec(condition);
  if (isNull !== null) return { column: isNull[1] ?? isNull[2] ?? '', kind: 'equal' };
  const left = new RegExp(`^${own} (=|<|>|<=|>=) (.+)$`).exec(condition);
  const right = left === null ? new RegExp(`^(.+) (=|<|>|<=|>=) ${own}$`).exec(condition) : null;
  const [name, operator, other] =
    left !== null
      ? [left[1] ?? left[2], left[3], left[4]]
      : [right?.[3] ?? right?.[4], right?.[2], right?.[1]];
  if (name === undefined || other === undefined) return undefined;
  if (aliasForms(alias).some((form) => other.includes(`${form}.`))) return undefined;
  return { column: name, kind: operator === '=' ? 'equal' : 'range' };
}

/** The parts between the ANDs on the outside, without the parentheses around them. */
function conditionsOf(filter: string): readonly string[] {
  const text = unwrapped(filter);
  const parts = splitOutside(text, ' AND ');
  return parts.length === 1 ? [text] : parts.flatMap((part) => conditionsOf(part));
}

function unwrapped(text: string): string {
  const trimmed = text.trim();
  return trimmed.startsWith('(') && closingOf(trimmed) === trimmed.length - 1
    ? unwrapped(trimmed.slice(1, -1))
    : trimmed;
}

/** Where the first parenthesis is closed; -1 when it is not. */
function closingOf(text: string): number {
  let closing = -1;
  scan(text, (at, depth) => {
    if (closing === -1 && depth === 0 && text[at] === ')') closing = at;
  });
  return closing;
}

function splitOutside(text: string, separator: string): readonly string[] {
  const parts: string[] = [];
  let from = 0;
  scan(text, (at, depth) => {
    if (depth !== 0 || at < from || !text.startsWith(separator, at)) return;
    parts.push(text.slice(from, at));
    from = at + separator.length;
  });
  return [...parts, text.slice(from)];
}

/** Visits every character outside quotes, with the depth of parentheses after it. */
function scan(text: string, visit: (at: number, depth: number) => void): void {
  let depth = 0;
  let quote: string | undefined;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (quote !== undefined) {
      if (character === quote) quote = undefined;
      continue;
    }
    if (character === "'" || character === '"') quote = character;
    else {
      if (character === '(' || character === '[') depth += 1;
      if (character === ')' || character === ']') depth -= 1;
      visit(at, depth);
    }
  }
}
