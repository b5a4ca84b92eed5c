import type { AnyOperation } from '../modules/contract.ts';

export interface RouteOptions {
  /** Status of success. Default 200, or 204 for a command without output. */
  readonly status?: number;
  /** Status of each declared error. Default 422. */
  readonly errors?: Readonly<Record<string, number>>;
}

/** An operation under a path. A query is GET, a command is POST: the method follows from what it is. */
export interface Route extends RouteOptions {
  /** Fastify's pattern: `/products/:sku`. */
  readonly path: string;
  readonly operation: AnyOperation;
}

/**
 * A query's input is its path parameters and query string; a command's is its JSON body and path
 * parameters. Both come as the schema makes them: use coercing schemas for numbers in a query string.
 */
export function route(path: string, operation: AnyOperation, options: RouteOptions = {}): Route {
  return { path, operation, ...options };
}
