import { createHash } from 'node:crypto';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { currentContext } from '../kernel/context.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';

/** What is read of a request: those of Node, Fastify and Express have it. */
export interface ClientRequest {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** The client as the framework's own `trustProxy` says. */
  readonly ip?: string | undefined;
  readonly socket?: { readonly remoteAddress?: string | undefined } | null;
}

export interface ClientIpOptions {
  /**
   * Addresses and networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For` is believed. Default: the request's
   * `ip`, which is what the framework's own setting says, else the address of the connection.
   */
  readonly trustProxy?: readonly string[];
}

/** The key of a rule: the client's address, an IPv6 one by its /64, as every client has at least that many. */
export function byClientIp(options: ClientIpOptions = {}): (request: ClientRequest) => string {
  const { trustProxy } = options;
  if (trustProxy === undefined) return (request) => addressKey(request.ip ?? request.socket?.remoteAddress);
  const proxies = listOf(trustProxy);
  return (request) => addressKey(clientOf(request, proxies));
}

/** The key of a rule: the principal of the context; the rule does not apply to nobody known. */
export const byPrincipal = (): string | undefined => currentContext()?.caller.principal;

/** The key of a rule: the tenant of the context; the rule does not apply where there is none. */
export const byTenant = (): string | undefined => currentContext()?.caller.tenant;

/**
 * The key of a rule: a hash of the API key in a header (default `x-api-key`), which is a secret that no store should
 * hold. The rule does not apply without the header, so put one by client beside it.
 */
export function byApiKey(header = 'x-api-key'): (request: ClientRequest) => string | undefined {
  const name = header.toLowerCase();
  return ({ headers }) => {
    const given = headers[name];
    const key = typeof given === 'string' ? given : given?.[0];
    return key === undefined || key === '' ? undefined : createHash('sha256').update(key).digest('base64url');
  };
}

/** `192.0.2.7`, or `2001:db8:1:2::/64`; `unknown` for what has no address, such as a socket file. */
export function addressKey(address: string | undefined): string {
  const plain = bare(address ?? '');
  if (!isIPv6(plain)) return isIP(plain) === 4 ? plain : 'unknown';
  return `${groupsOf(plain).slice(0, 4).join(':')}::/64`;
}

/** Without zone, and an IPv4 address as such. */
function bare(address: string): string {
  const plain = address.split('%', 1)[0] ?? '';
  if (!isIPv6(plain)) return plain;
  const groups = groupsOf(plain);
  if (groups.slice(0, 5).some((group) => group !== '0') || groups[5] !== 'ffff') return plain;
  const [high = 0, low = 0] = groups.slice(6).map((group) => Number.parseInt(group, 16));
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

/** The eight groups, in lower case and without leading zeros: one address has many spellings. */
function groupsOf(address: string): string[] {
  // `URL` knows them all, IPv4 at the end too.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail] = canonical.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  return [...before, ...zeros, ...after];
}

/** From the connection backwards: the first that is no proxy of ours. What is left of it anybody can have written. */
function clientOf({ headers, socket }: ClientRequest, proxies: BlockList): string {
  let client = bare(socket?.remoteAddress ?? '');
  const given = headers['x-forwarded-for'];
  const hops = (typeof given === 'string' ? given : (given ?? []).join(',')).split(',');
  for (const hop of hops.toReversed()) {
    if (!isProxy(client, proxies)) return client;
    const next = bare(withoutPort(hop.trim()));
    if (isIP(next) === 0) return client;
    client = next;
  }
  return client;
}

const isProxy = (address: string, proxies: BlockList): boolean =>
  isIP(address) !== 0 && proxies.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');

/** Some proxies write `192.0.2.7:4711` and `[2001:db8::7]:4711`. */
function withoutPort(hop: string): string {
  const { inside, before } =
    /^(?:\[(?<inside>[^\]]+)\](?::\d+)?|(?<before>[\d.]+):\d+)$/.exec(hop)?.groups ?? {};
  return inside ?? before ?? hop;
}

function listOf(trustProxy: readonly string[]): BlockList {
  const list = new BlockList();
  const problems: Problem[] = [];
  for (const [index, proxy] of trustProxy.entries()) {
    const [address = '', prefix] = proxy.split('/');
    const bits = isIP(address) === 6 ? 128 : 32;
    const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Infinity;
    if (isIP(address) === 0 || length > bits)
      problems.push({
        path: `trustProxy[${index}]`,
        message: `is ${JSON.stringify(proxy)}; want an address or a network such as "10.0.0.0/8"`,
      });
    else list.addSubnet(address, length, bits === 128 ? 'ipv6' : 'ipv4');
  }
  throwIfProblems('the key by client address', problems);
  return list;
}
