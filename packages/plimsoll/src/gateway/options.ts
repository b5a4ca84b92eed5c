import type { Problem } from '../kernel/errors.ts';
import type { AnyCommand, AnyOperation } from '../modules/contract.ts';
import type { RateLimitStore } from '../rate-limit/store.ts';
import { shedProblems, type ShedOptions } from '../shed/options.ts';
import type { Authenticate } from './authentication.ts';
import { corsProblems, type CorsOptions } from './hardening.ts';
import type { ExposedOpenApi, OwnRoutes } from './own-routes.ts';
import { countsInDatabase, routeLimitProblems } from './route-limits.ts';
import type { RouteRateLimit } from './route-rate-limit.ts';
import { routeProblems, type Route } from './route.ts';
import { seenProblems, type SeenOptions, type Settle } from './seen-exchange.ts';
import type { SessionStore } from './session-store.ts';

/** What of the shedder the gateway leaves open. */
export type GatewayShed = Omit<ShedOptions, 'name' | 'scope' | 'clock' | 'random' | 'loop'>;

export interface GatewayOptions {
  readonly scope: object;
  readonly routes: readonly Route[];
  readonly call: (operation: AnyOperation, input: unknown) => Promise<unknown>;
  /** Rejects when the process cannot serve; asked by `/readyz`. */
  readonly ready: () => Promise<void>;
  /** Answers `/-/telemetry`, to loopback only. */
  readonly telemetry?: (lastMs: number) => Promise<unknown>;
  /** Answers `/-/metrics` in Prometheus' text format, to loopback only. */
  readonly metrics?: () => Promise<string>;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 takes any free port. Default 3000. */
  readonly port?: number;
  /** Largest request body. Default 1 MiB. */
  readonly maxBodyBytes?: number;
  /** Longest time for one request, from its headers to the answer. Default 10_000. */
  readonly requestTimeoutMs?: number;
  /** Requests under way at once; more are refused with 503 and Retry-After. Default 512. */
  readonly maxInFlight?: number;
  /**
   * Refuses with 503 what cannot be served in time, before anything is done for it. Default on, with the defaults of
   * `plimsoll/shed` and a class for each operation.
   */
  readonly shed?: GatewayShed | false;
  /** For each route that has no limit of its own; they share it. Default none. */
  readonly rateLimit?: RouteRateLimit;
  /** Where limits with the store `database` count. */
  readonly rateLimitDatabase?: RateLimitStore;
  /** How long a draining gateway waits for requests under way. Default 10_000. */
  readonly drainMs?: number;
  /** How long after `requestTimeoutMs` a client may take to read its answer before it is cut. Default 10_000. */
  readonly answerTimeoutMs?: number;
  /** Header fields of one request; more are refused with 431. Default 100. */
  readonly maxHeaders?: number;
  /** Whose pages may read answers in a browser. Default none but our own origin's. */
  readonly cors?: CorsOptions;
  /** Addresses or networks (CIDR) of proxies whose `X-Forwarded-*` is believed. Default none. */
  readonly trustProxy?: readonly string[];
  /** Who asks, when no session says it. Default nobody known. */
  readonly authenticate?: Authenticate;
  /** Who is logged in; for routes with `session`. Default none. */
  readonly sessions?: SessionStore;
  readonly openapi?: ExposedOpenApi;
  /**
   * Whether what a client has seen travels from its answer to its next request, so that it reads there what it has
   * written here. `false`: each request begins anew. Default in the header `Plimsoll-Seen`.
   */
  readonly seen?: SeenOptions | false;
  /** Takes the positions that were put off before a token leaves; `database.settle`. Default none. */
  readonly settle?: Settle;
  /** Writes a job that runs the command later, and its receipt; returns its id. For routes with `enqueue`. */
  readonly enqueue?: (operation: AnyCommand, input: unknown) => Promise<string>;
  /** Answers `/-/jobs/:jobId`. */
  readonly jobStatus?: OwnRoutes['jobStatus'];
}

export const gatewayDefaults = {
  host: '127.0.0.1',
  port: 3000,
  maxBodyBytes: 1_048_576,
  requestTimeoutMs: 10_000,
  maxInFlight: 512,
  drainMs: 10_000,
  answerTimeoutMs: 10_000,
  maxHeaders: 100,
} as const;

/** What the options and the routes ask for that cannot be, all at once. */
export function gatewayProblems(options: GatewayOptions): readonly Problem[] {
  const cors = options.cors === undefined ? [] : corsProblems(options.cors, 'cors');
  const routes = options.routes.flatMap((route, index) => {
    const path = `routes[${index}]`;
    const lacks = (what: string): Problem => ({
      path,
      message: `needs the option \`${what}\` of the gateway`,
    });
    return [
      ...routeProblems(route, path),
      ...(route.enqueue === true && options.enqueue === undefined ? [lacks('enqueue')] : []),
      ...(route.session !== undefined && options.sessions === undefined ? [lacks('sessions')] : []),
    ];
  });
  const inDatabase =
    options.rateLimitDatabase === undefined && countsInDatabase(options)
      ? [{ path: 'rateLimitDatabase', message: 'is missing; a rate limit counts in the database' }]
      : [];
  const shed =
    options.shed === undefined || options.shed === false
      ? []
      : shedProblems({ name: 'gateway', ...options.shed });
  return [
    ...cors,
    ...routes,
    ...routeLimitProblems(options),
    ...inDatabase,
    ...seenProblems(options.seen, 'seen'),
    ...shed.map(({ path, message }) => ({ path: `shed.${path}`, message })),
  ];
}
