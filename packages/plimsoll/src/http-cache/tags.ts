import { hash } from 'node:crypto';

/**
 * Longest field of tags that is sent, in bytes. Fastly reads 16,384 and Cloudflare 16 KB; but Varnish refuses an
 * answer with a line above 8 KiB, nginx one whose fields are above 4 or 8 KiB, and most clients 16 KiB in all.
 */
export const maxTagFieldBytes = 3_000;
/** Longest tag that is sent as it is; Fastly and Cloudflare purge at most 1,024 bytes, CloudFront 256. */
const maxTagBytes = 200;

/**
 * A tag as shared caches see it, in fields and in purges: letters, digits and `_ : / -` as they are, all other bytes of
 * its UTF-8 as `%` and two digits. So no tag has a separator, nor a character with a meaning in a regular expression. A
 * long one becomes `~` and its SHA-256. Cloudflare does not tell upper case from lower: there `A` purges `a` too.
 */
export function encodeTag(tag: string): string {
  const encoded = encodeURIComponent(tag.toWellFormed())
    .replaceAll(/[.!~*'()]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%3A', ':')
    .replaceAll('%2F', '/');
  return encoded.length <= maxTagBytes ? encoded : `~${hash('sha256', encoded, 'base64url')}`;
}

/** Each once, encoded. */
export const encodeTags = (tags: Iterable<string>): readonly string[] => [
  ...new Set([...tags].map(encodeTag)),
];

/**
 * `Surrogate-Key` (Fastly, Varnish, Souin) and `Cache-Tag` (Cloudflare, CloudFront). Undefined where they are too long:
 * a cache that drops one of them would keep what it names.
 */
export function tagFields(tags: Iterable<string>): Readonly<Record<string, string>> | undefined {
  const encoded = encodeTags(tags);
  const keys = encoded.join(' ');
  if (keys.length > maxTagFieldBytes) return undefined;
  return { 'surrogate-key': keys, 'cache-tag': encoded.join(',') };
}
