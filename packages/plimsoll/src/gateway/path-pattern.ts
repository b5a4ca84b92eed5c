/** `:name`, `:name(expression)`, `:name?` and `*` of Fastify's patterns. */
const token = /:(?<name>\w+)(?:\((?<expression>(?:[^()\\]|\\.|\([^()]*\))*)\))?\??|\*/g;

/** Names of the path parameters, in order; a wildcard is `*`. */
export function parametersOf(pattern: string): readonly string[] {
  return [...pattern.matchAll(token)].map(({ groups }) => groups?.['name'] ?? '*');
}

/** `/orders/:id` as `/orders/{id}`, with these names for its parameters. */
export function templateOf(pattern: string, names: readonly string[] = parametersOf(pattern)): string {
  let index = 0;
  return pattern.replaceAll(token, () => {
    const name = names[index] ?? '*';
    index += 1;
    return `{${name}}`;
  });
}

/** The same for all patterns that differ only in the names of their parameters. */
export function shapeOf(pattern: string): string {
  return pattern.replaceAll(token, '{}');
}

/** Whether a path (without its query string) matches. Only asked about paths that no route answered. */
export function matcherOf(pattern: string): (path: string) => boolean {
  let source = '';
  let at = 0;
  for (const match of pattern.matchAll(token)) {
    source += escape(pattern.slice(at, match.index));
    source += match[0] === '*' ? '.*' : `(?:${match.groups?.['expression'] ?? '[^/]+?'})`;
    at = match.index + match[0].length;
  }
  const whole = new RegExp(`^${source}${escape(pattern.slice(at))}$`);
  return (path) => whole.test(path);
}

/** `RegExp.escape` is not in every Node that we support. */
function escape(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`);
}
