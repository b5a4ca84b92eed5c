import { matcherOf } from './path-pattern.ts';

/** Which methods a path answers; empty for a path that there is not. Asked only where no route answered. */
export type AllowedMethods = (path: string) => readonly string[];

export function allowedMethods(
  routes: readonly { readonly method: 'GET' | 'POST'; readonly path: string }[],
): AllowedMethods {
  const known = routes.map(({ method, path }) => ({ method, matches: matcherOf(path) }));
  return (path) => {
    const found = new Set(known.filter(({ matches }) => matches(path)).map(({ method }) => method));
    if (found.size === 0) return [];
    return [...(found.has('GET') ? ['GET', 'HEAD'] : []), ...(found.has('POST') ? ['POST'] : []), 'OPTIONS'];
  };
}
