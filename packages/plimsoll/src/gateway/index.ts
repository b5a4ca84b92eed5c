/**
 * `plimsoll/gateway`: HTTP routes from operations.
 *
 * Guarantee: the method follows from the operation (query GET, command POST); a request that
 * was read and fails is answered with an RFC 9457 problem with a stable code and the correlation id; a request
 * that cannot be served in time, in size or in number is refused with 504, 413, 431 or 503 and `Retry-After`; a
 * draining gateway finishes what it has begun. A request that could be read in two ways is not served.
 *
 * Authoritative: the contract. Input is validated by the operation's schema, never by the route, and the
 * OpenAPI document is made from the same schemas. Who is logged in stands in the database, never in a process.
 *
 * States of a job accepted with 202: queued → running → (done | queued again | failed | cancelled).
 *
 * Not promised: that work of a request whose client has gone, or whose time is up, stops at once. It is
 * told through its signal, and it cannot commit after its deadline.
 */
export { type Authenticate, type Credentials } from './authentication.ts';
export { createGateway, type Gateway } from './gateway.ts';
export { type CorsOptions } from './hardening.ts';
export { openApiDocument, type OpenApiDocument, type OpenApiOptions } from './openapi.ts';
export { gatewayDefaults, type GatewayOptions } from './options.ts';
export { type ExposedOpenApi } from './own-routes.ts';
export { type ProblemDetails } from './problem.ts';
export { route, type Route, type RouteOptions } from './route.ts';
export { postgresSeenStore } from './postgres-seen-store.ts';
export { seenDefaults, type SeenOptions, type SeenRequest } from './seen-exchange.ts';
export { seenStoreSuite, type SeenStoreCase } from './seen-store-suite.ts';
export { type SeenStore } from './seen-store.ts';
export { sessionMigrations } from './session-migrations.ts';
export {
  createSessionStore,
  sessionDefaults,
  type SessionOptions,
  type SessionStore,
  type SessionSubject,
} from './session-store.ts';
