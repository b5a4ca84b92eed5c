import type { IncomingMessage } from 'node:http';
import findMyWay from 'find-my-way';
import { methodOf, type Route } from './route.ts';

const none = '(none)';

/** The operation that a request asks for, told before Fastify routes it; `(none)` for what no route answers. */
export function routeClassOf(routes: readonly Route[]): (request: IncomingMessage) => string {
  const router = findMyWay<findMyWay.HTTPVersion.V1>();
  // Never called: only what is stored with a route is looked up.
  const handler = (): void => undefined;
  for (const route of routes) router.on(methodOf(route), route.path, handler, route.operation.id);
  return ({ method, url = '/' }) => {
    const asked = method === 'HEAD' ? 'GET' : method;
    if (asked !== 'GET' && asked !== 'POST') return none;
    const found = router.find(asked, url) as { readonly store?: string } | null;
    return found?.store ?? none;
  };
}
