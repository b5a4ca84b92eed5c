/**
 * `plimsoll/nest`: an app, or only its database, inside a NestJS app on Express or Fastify.
 *
 * Guarantee: every call, statement, event and job of a request carries its correlation id, its key, its
 * deadline, its trace and its caller, and stops when the client goes; the app runs before the first request and
 * until after the last one, and its pools close last.
 *
 * Authoritative: your Nest app: its server, its limits, its routes, and its filters for all errors but ours.
 *
 * Not promised: limits on requests in flight, which are the gateway's. Work that does not look at the signal
 * goes on after its deadline, but cannot commit. Messages of other transports than HTTP get no context.
 *
 * On failure: an error with a code of ours is answered as a problem; any other is Nest's. A start that fails
 * rejects `listen` and `init` with its own error and leaves nothing open.
 */
export { PlimsollExceptionFilter } from './exception-filter.ts';
export {
  PlimsollDatabaseModule,
  PlimsollModule,
  type NestAsyncOptions,
  type NestContextOptions,
  type NestScopeOptions,
  type PlimsollDatabaseModuleOptions,
  type PlimsollModuleOptions,
} from './module.ts';
export { PlimsollApp, PlimsollDatabase } from './tokens.ts';
