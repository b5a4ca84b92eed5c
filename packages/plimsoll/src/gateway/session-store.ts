import { createHmac, randomBytes } from 'node:crypto';
import type { Queryable } from '../database/statements.ts';
import { sql } from '../database/sql.ts';
import type { Caller } from '../kernel/context.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';

export interface SessionOptions {
  /** Key of the hash under which ids are stored; at least 32 characters. A new one logs everybody out. */
  readonly secret: string;
  /** How long a session lasts from its login. Default 8 hours. */
  readonly ttlMs?: number;
  /** Default `sid`; `__Host-sid` on HTTPS. */
  readonly cookieName?: string;
}

export const sessionDefaults = { ttlMs: 28_800_000, cookieName: 'sid' } as const;

export interface SessionSubject {
  readonly principal: string;
  readonly tenant?: string;
  /** JSON that belongs to the session. Default empty. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** Sessions in the database: any process answers any client, and a restart logs nobody out. */
export interface SessionStore {
  readonly cookieName: string;
  readonly ttlMs: number;
  /** A session under a new id, which is returned and stored nowhere; `replaces` ends in the same statement. */
  begin(subject: SessionSubject, replaces?: string): Promise<string>;
  /** Undefined for an id that is unknown, ended or expired. */
  find(id: string): Promise<SessionSubject | undefined>;
  end(id: string): Promise<void>;
  /** Ends all of a principal's sessions; returns how many. */
  endAllOf(principal: string): Promise<number>;
  /** Deletes what has expired; returns how many. Expired sessions count for nothing before that too. */
  forgetExpired(): Promise<number>;
}

const idShape = /^[\w-]{43}$/;

export function sessionProblems(options: SessionOptions, path: string): readonly Problem[] {
  const { secret, ttlMs, cookieName } = { ...sessionDefaults, ...options };
  const problems: Problem[] = [];
  if (typeof secret !== 'string' || secret.length < 32)
    problems.push({ path: `${path}.secret`, message: 'is too short; give at least 32 random characters' });
  if (!Number.isInteger(ttlMs) || ttlMs < 1_000 || ttlMs > 31_536_000_000)
    problems.push({
      path: `${path}.ttlMs`,
      message: `is ${ttlMs}; want a whole number from 1000 to 31536000000`,
    });
  if (!/^\w{1,40}$/.test(cookieName))
    problems.push({
      path: `${path}.cookieName`,
      message: `is ${JSON.stringify(cookieName)}; want 1 to 40 letters, digits and "_"`,
    });
  return problems;
}

export function createSessionStore(
  database: Pick<Queryable, 'maybeOne' | 'execute'>,
  options: SessionOptions,
): SessionStore {
  throwIfProblems('the session options', sessionProblems(options, 'sessions'));
  const { secret, ttlMs, cookieName } = { ...sessionDefaults, ...options };
  // Whoever reads the table, or writes to it without the secret, has no session by that.
  const hashOf = (id: string): string => createHmac('sha256', secret).update(id).digest('hex');

  return {
    cookieName,
    ttlMs,
    async begin({ principal, tenant, data = {} }, replaces) {
      const id = randomBytes(32).toString('base64url');
      await database.execute(sql`
        with replaced as (
          delete from plimsoll.session where id_hash = decode(${hashOf(replaces ?? '')}, 'hex'))
        insert into plimsoll.session (id_hash, principal, tenant, data, expires_at)
        values (decode(${hashOf(id)}, 'hex'), ${principal}, ${tenant ?? null}::text, ${sql.json(data)},
          now() + ${ttlMs}::float8 * interval '1 millisecond')`);
      return id;
    },
    async find(id) {
      if (!idShape.test(id)) return undefined;
      const row = await database.maybeOne<{
        principal: string;
        tenant: string | null;
        data: Readonly<Record<string, unknown>>;
      }>(sql`
        select principal, tenant, data from plimsoll.session
        where id_hash = decode(${hashOf(id)}, 'hex') and expires_at > now()`);
      if (row === undefined) return undefined;
      const { principal, tenant, data } = row;
      return { principal, data, ...(tenant === null ? {} : { tenant }) };
    },
    async end(id) {
      await database.execute(sql`delete from plimsoll.session where id_hash = decode(${hashOf(id)}, 'hex')`);
    },
    endAllOf: (principal) =>
      database.execute(sql`delete from plimsoll.session where principal = ${principal}`),
    forgetExpired: () => database.execute(sql`delete from plimsoll.session where expires_at <= now()`),
  };
}

/** Whose session this is, as the context knows callers. */
export function callerOf({ principal, tenant }: SessionSubject): Caller {
  return { principal, ...(tenant === undefined ? {} : { tenant }) };
}
