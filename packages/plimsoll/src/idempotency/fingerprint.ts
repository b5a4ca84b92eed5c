import { hash } from 'node:crypto';

/**
 * What tells one piece of work from another under the same key: a hash of its JSON, in which the order of members
 * does not count.
 */
export function fingerprintOf(value: unknown): string {
  return hash('sha256', canonicalJson(value), 'base64url');
}

/** Of bytes that are not JSON. */
export function fingerprintOfBytes(bytes: string | Uint8Array): string {
  return hash('sha256', bytes, 'base64url');
}

/** As `JSON.stringify` writes it, with the members of each object in one order; `null` for what has no JSON. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, sorted) ?? 'null';
}

function sorted(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  // Without a prototype, so that a member called `__proto__` is one like any other.
  const members = Object.create(null) as Record<string, unknown>;
  for (const [name, member] of entries) members[name] = member;
  return members;
}
