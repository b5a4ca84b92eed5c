import { validateHeaderName, validateHeaderValue } from 'node:http';
import type { Clock } from '../kernel/clock.ts';
import type { Problem } from '../kernel/errors.ts';
import { seenSecretProblems, type SeenSecret } from '../kernel/seen-token.ts';
import { policyDefaults, type PolicyOptions } from '../policy/options.ts';
import type { Policy } from '../policy/policy.ts';

export interface HttpClientOptions {
  /** What is called: `bank`. In errors, events and state. */
  readonly name: string;
  /** `https://bank.example`: scheme, host and port, and nothing more. No request goes anywhere else. */
  readonly origin: string;
  /** Sent with every request, for credentials. Default none. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Options of a policy of its own, or a policy that others share. Default: that of `createPolicy`. */
  readonly policy?: Policy | Omit<PolicyOptions, 'name' | 'scope' | 'clock'>;
  /**
   * Whether what the request has seen goes along, and what comes back joins it: for a server of Plimsoll only, with
   * the `secret` that it has. Default false.
   */
  readonly seen?: boolean | { readonly secret: SeenSecret };
  /** Open at once. Default 50, or `bulkhead.max` of the policy's options. */
  readonly maxConnections?: number;
  /** Longest time to connect, TLS included; undici looks at it about twice a second. Default 2000. */
  readonly connectTimeoutMs?: number;
  /** Largest body of an answer. Default 1_048_576. */
  readonly maxBodyBytes?: number;
  /** The app that messages on the channels belong to. Default: the client. */
  readonly scope?: object;
  readonly clock?: Clock;
}

export const httpClientDefaults = {
  maxConnections: policyDefaults.max,
  connectTimeoutMs: 2_000,
  maxBodyBytes: 1_048_576,
} as const satisfies Partial<HttpClientOptions>;

export const isPolicy = (given: HttpClientOptions['policy']): given is Policy =>
  given !== undefined && 'run' in given;

export function maxConnectionsOf({ maxConnections, policy }: HttpClientOptions): number {
  if (maxConnections !== undefined) return maxConnections;
  const bulkhead = policy === undefined || isPolicy(policy) ? undefined : policy.bulkhead;
  return (bulkhead === false ? undefined : bulkhead?.max) ?? httpClientDefaults.maxConnections;
}

export function httpClientProblems(given: HttpClientOptions): Problem[] {
  const problems: Problem[] = [];
  const allow = (path: string, value: unknown, allowed: boolean, want: string): void => {
    if (!allowed) problems.push({ path, message: `is ${JSON.stringify(value)}; give ${want}` });
  };
  const { name, origin, headers = {}, seen } = given;
  const { connectTimeoutMs, maxBodyBytes } = { ...httpClientDefaults, ...given };
  const connections = maxConnectionsOf(given);
  const isCount = (count: number): boolean => Number.isSafeInteger(count) && count >= 1;
  allow('name', name, typeof name === 'string' && name !== '', 'a name for what is called');
  // Not shown as it is: it may hold a password.
  if (!isOrigin(origin))
    problems.push({
      path: 'origin',
      message: 'is no origin; give scheme, host and port alone: https://bank.example:8443',
    });
  allow('maxConnections', connections, isCount(connections), 'a whole number from 1');
  allow(
    'connectTimeoutMs',
    connectTimeoutMs,
    connectTimeoutMs > 0 && connectTimeoutMs < 2 ** 31,
    'milliseconds above 0, at most 2147483647',
  );
  allow('maxBodyBytes', maxBodyBytes, isCount(maxBodyBytes), 'bytes, a whole number from 1');
  if (typeof seen === 'object') problems.push(...seenSecretProblems(seen.secret, 'seen.secret'));
  return [...problems, ...headerProblems(headers)];
}

function isOrigin(origin: unknown): boolean {
  if (typeof origin !== 'string' || !URL.canParse(origin)) return false;
  const { protocol, pathname, search, hash, username, password } = new URL(origin);
  return (
    /^https?:$/.test(protocol) &&
    `${search}${hash}${username}${password}` === '' &&
    pathname === '/' &&
    !/[?#@]/.test(origin)
  );
}

/** They say where the request goes or where it ends, which is not for the caller to say. */
const reserved: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
]);

/** What may not be sent as a header, and why. Never the value, which may be a secret. */
export function headerProblems(headers: Readonly<Record<string, string>>): Problem[] {
  return Object.entries(headers).flatMap(([name, value]): Problem[] => {
    const path = `headers.${name}`;
    const lower = name.toLowerCase();
    if (reserved.has(lower)) return [{ path, message: 'is set by the client itself; leave it out' }];
    if (lower === 'idempotency-key')
      return [{ path, message: 'give it as idempotencyKey, so that the request may be made again' }];
    try {
      validateHeaderName(name);
      validateHeaderValue(name, value);
      return [];
    } catch {
      return [{ path, message: 'cannot be sent; give a token for the name, visible text for the value' }];
    }
  });
}
