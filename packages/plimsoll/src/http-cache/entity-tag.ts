import { hash } from 'node:crypto';

/**
 * The validator of a body. Weak, because a proxy may compress what we send: the content is the same, its bytes are not
 * (RFC 9110, 8.8.1). 27 characters of a SHA-256: 162 bits.
 */
export function entityTag(body: string | Uint8Array): string {
  return `W/"${hash('sha256', body, 'base64url').slice(0, 27)}"`;
}

/**
 * Whether `If-None-Match` holds this one, or `*`; what cannot be read matches nothing. Compared weakly, as RFC 9110,
 * 13.1.2 demands.
 */
export function isNoneMatch(field: string | undefined, etag: string): boolean {
  if (field === undefined) return false;
  if (field.trim() === '*') return true;
  const opaque = etag.replace(/^W\//, '');
  // A tag may hold a comma, so the list is not split at those.
  for (const [, found] of field.matchAll(/(?:^|,)[ \t]*(?:W\/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)/g))
    if (found === opaque) return true;
  return false;
}
