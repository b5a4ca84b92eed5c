/**
 * `plimsoll/gateway`: HTTP routes from operations.
 *
 * Guarantee: the method follows from the operation (query GET, command POST); a request that
 * was read and fails is answered with an RFC 9457 problem with a stable code and the correlation id; a request that cannot be served in time, in size or in
 * number is refused with 504, 413 or 503 and `Retry-After`; a draining gateway finishes what it has begun.
 *
 * Authoritative: the contract. Input is validated by the operation's schema, never by the route.
 *
 * Not promised: that work of a request whose client has gone, or whose time is up, stops at once. It is
 * told through its signal, and it cannot commit after its deadline.
 */
export { createGateway, gatewayDefaults, type Gateway, type GatewayOptions } from './gateway.ts';
export { type ProblemDetails } from './problem.ts';
export { route, type Route, type RouteOptions } from './route.ts';
