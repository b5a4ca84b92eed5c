/**
 * `plimsoll/express`: a request context around Express handlers, and operations under an Express app.
 *
 * Guarantee: inside {@link plimsollContext} every call, statement, event and job of a request carries its
 * correlation id, its key, its trace, its deadline and its caller, and stops when the client goes; a route of
 * {@link mountRoutes} has the method, input, statuses and problems that the gateway gives the same operation.
 *
 * Authoritative: your Express app: its server, its limits, its other routes and its error handler.
 *
 * Not promised: limits on requests in flight and draining, which are the gateway's. Work that does not look
 * at the signal goes on after its deadline, but cannot commit.
 *
 * On failure: an error with a code of ours is answered as a problem; any other goes to your error handler.
 */
export { expressDefaults, type ContextOptions } from './arrival.ts';
export { plimsollContext } from './context.ts';
export { mountRoutes, type Callable, type MountOptions, type MountTarget } from './mount-routes.ts';
export { plimsollRoutes, type Measured } from './own-routes.ts';
