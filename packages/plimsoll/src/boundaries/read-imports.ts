export interface ImportedPath {
  readonly specifier: string;
  /** From 1. */
  readonly line: number;
}

interface Token {
  readonly kind: 'word' | 'string' | 'other';
  readonly text: string;
  readonly at: number;
}

/** Thrown for a text that ends inside a comment or a template: what follows would go unseen. */
export class UnreadableSource extends Error {
  override readonly name = 'UnreadableSource';
}

const space = /\s+|\/\/[^\n]*/y;
const word = /[\p{ID_Start}$_#][\p{ID_Continue}$\u200c\u200d]*/uy;
const number = /\.?\d[\w.]*/y;
// An apostrophe in the text of JSX is no string: without its end on the line it counts as one character.
const quoted = /"(?:[^"\\\n]|\\[^])*"|'(?:[^'\\\n]|\\[^])*'/y;
const regex = /\/(?![*/])(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
const templateText = /(?:[^`\\$]|\\[^]|\$(?!\{))*/y;

/** After these a slash begins a regular expression; after a value it divides. */
const beforeRegex = new Set([
  ...Array.from('(,=:[!&|?{};+-*%~^<>'),
  ...'return typeof case in of delete void throw new await yield else do instanceof'.split(' '),
]);

/**
 * The tokens of a TypeScript or JavaScript text, as far as imports need them. A parser would say more, but
 * none is a dependency; a test holds this equal to one on every file of this repository.
 */
function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  // One entry for each open `${`: how many braces inside it are open.
  const braces: number[] = [];
  let at = source.startsWith('#!') ? source.indexOf('\n') : 0;
  if (at === -1) return tokens;

  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(source)?.[0];
  };
  const push = (kind: Token['kind'], text: string, length: number): void => {
    tokens.push({ kind, text, at });
    at += length;
  };
  /** From behind a backtick or the `}` of a substitution. */
  const template = (start: number, whole: boolean): void => {
    const text = match(templateText) ?? '';
    at += text.length;
    if (source[at] === '`') {
      tokens.push({ kind: whole ? 'string' : 'other', text: whole ? text : '`', at: start });
      at += 1;
    } else if (source.startsWith('${', at)) {
      braces.push(0);
      push('other', '{', 2);
    } else {
      throw new UnreadableSource(`a template that begins at character ${start} has no end`);
    }
  };

  while (at < source.length) {
    const blank = match(space);
    if (blank !== undefined) {
      at += blank.length;
      continue;
    }
    if (source.startsWith('/*', at)) {
      const end = source.indexOf('*/', at + 2);
      if (end === -1) throw new UnreadableSource(`a comment that begins at character ${at} has no end`);
      at = end + 2;
      continue;
    }
    const name = match(word) ?? match(number);
    if (name !== undefined) {
      push('word', name, name.length);
      continue;
    }
    const text = match(quoted);
    if (text !== undefined) {
      push('string', text.slice(1, -1), text.length);
      continue;
    }
    const character = source[at] ?? '';
    if (character === '`') {
      at += 1;
      template(at - 1, true);
      continue;
    }
    const before = tokens.at(-1);
    if (
      character === '/' &&
      (before === undefined || (before.kind !== 'string' && beforeRegex.has(before.text)))
    ) {
      const expression = match(regex);
      if (expression !== undefined) {
        push('other', 'regex', expression.length);
        continue;
      }
    }
    const open = braces.at(-1);
    if (character === '}' && open === 0) {
      braces.pop();
      at += 1;
      template(at - 1, false);
      continue;
    }
    if (open !== undefined && (character === '{' || character === '}'))
      braces[braces.length - 1] = open + (character === '{' ? 1 : -1);
    push('other', character, 1);
  }
  return tokens;
}

/** What a file imports in any way that names it by a literal: type-only, re-exported, dynamic and `require`. */
export function readImports(source: string): readonly ImportedPath[] {
  const tokens = tokensOf(source);
  const found = new Map<number, string>();
  const is = (index: number, text: string): boolean =>
    tokens[index]?.kind !== 'string' && tokens[index]?.text === text;
  const take = (index: number): void => {
    const token = tokens[index];
    if (token?.kind === 'string') found.set(token.at, token.text);
  };
  /** From the first token of an import or export clause to the literal behind its `from`. */
  const clause = (start: number): void => {
    for (let index = start; index < tokens.length; index += 1) {
      const token = tokens[index];
      if (is(index, 'from') && tokens[index + 1]?.kind === 'string') return take(index + 1);
      if (token?.kind === 'other' && !['{', '}', ',', '*'].includes(token.text)) return;
    }
  };

  for (const [index, { kind, text }] of tokens.entries()) {
    if (kind !== 'word' || is(index - 1, '.')) continue;
    if ((text === 'import' || text === 'require') && is(index + 1, '(')) take(index + 2);
    else if (text === 'import' && tokens[index + 1]?.kind === 'string') take(index + 1);
    else if (text === 'import') clause(index + 1);
    else if (text === 'export' && (is(index + 1, '{') || is(index + 1, '*') || is(index + 1, 'type')))
      clause(index + 1);
  }
  let line = 1;
  let counted = 0;
  return [...found]
    .toSorted(([one], [other]) => one - other)
    .map(([at, specifier]) => {
      line += source.slice(counted, at).split('\n').length - 1;
      counted = at;
      return { specifier, line };
    });
}
