import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Caller } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { callerOf, type SessionStore } from './session-store.ts';

/** What is known of a request before its caller is. */
export interface Credentials {
  readonly headers: IncomingHttpHeaders;
  readonly cookies: Readonly<Record<string, string | undefined>>;
}

/**
 * Who asks; undefined is nobody known, and the request goes on without a caller. Throw `PL_UNAUTHENTICATED`
 * to refuse it.
 */
export type Authenticate = (credentials: Credentials) => Promise<Caller | undefined>;

export interface Authentication {
  whoIs(request: FastifyRequest): Promise<Caller | undefined>;
  /** After a login, whose it is; `output` is that of the command. */
  begin(request: FastifyRequest, reply: FastifyReply, output: unknown): Promise<Caller>;
  /** After a logout. */
  end(request: FastifyRequest, reply: FastifyReply): Promise<void>;
}

/** The own hook is asked first, the session when it knows nobody. */
export function authentication(
  authenticate: Authenticate | undefined,
  sessions: SessionStore | undefined,
): Authentication {
  function store(): SessionStore {
    if (sessions === undefined) throw new PlimsollError('PL_CONFIG', 'the gateway has no session store');
    return sessions;
  }
  // `__Host-` keeps a neighbouring subdomain from planting its own; browsers take it on HTTPS only.
  const nameFor = (request: FastifyRequest): string =>
    request.protocol === 'https' ? `__Host-${store().cookieName}` : store().cookieName;
  const attributesFor = (request: FastifyRequest): object => ({
    path: '/',
    httpOnly: true,
    sameSite: 'lax',
    secure: request.protocol === 'https',
  });

  return {
    async whoIs(request) {
      const { headers, cookies } = request;
      const caller = await authenticate?.({ headers, cookies });
      if (caller !== undefined || sessions === undefined) return caller;
      const id = cookies[nameFor(request)];
      const subject = id === undefined ? undefined : await sessions.find(id);
      return subject === undefined ? undefined : callerOf(subject);
    },
    async begin(request, reply, output) {
      const { principal, tenant } = (output ?? {}) as {
        readonly principal?: unknown;
        readonly tenant?: unknown;
      };
      if (
        typeof principal !== 'string' ||
        principal === '' ||
        (tenant !== undefined && typeof tenant !== 'string')
      )
        throw new PlimsollError(
          'PL_OUTPUT_INVALID',
          'a command whose route begins a session must return { principal: string, tenant?: string }',
        );
      const name = nameFor(request);
      // Always a new id: one that was planted before the login must not be the one that is logged in.
      const subject = { principal, ...(tenant === undefined ? {} : { tenant }) };
      const id = await store().begin(subject, request.cookies[name]);
      const maxAge = Math.floor(store().ttlMs / 1_000);
      void reply
        .setCookie(name, id, { ...attributesFor(request), maxAge })
        .header('cache-control', 'no-store');
      return callerOf(subject);
    },
    async end(request, reply) {
      const name = nameFor(request);
      const id = request.cookies[name];
      if (id !== undefined) await store().end(id);
      void reply.clearCookie(name, attributesFor(request)).header('cache-control', 'no-store');
    },
  };
}
