/** Longest key of a client, in characters. */
export const maxKeyLength = 255;

/** Set to `true` on an answer that was given before. */
export const replayedHeader = 'idempotency-replayed';

/** What a client sent as `Idempotency-Key`: a key, nothing, or something that is none, and why. */
export type SentKey =
  | { readonly is: 'none' }
  | { readonly is: 'key'; readonly key: string }
  | { readonly is: 'unreadable'; readonly why: string };

const none: SentKey = { is: 'none' };

/**
 * Reads the field as the IETF draft has it, a string of RFC 9651 in double quotes, and as most clients send it,
 * without them. Both name the same key.
 */
export function readKey(field: string | readonly string[] | undefined): SentKey {
  if (field === undefined) return none;
  if (typeof field !== 'string') return unreadable('it was sent more than once');
  const text = field.trim();
  const key = text.startsWith('"') ? unquoted(text) : text;
  if (key === undefined) return unreadable('it begins with a double quote, and is no string of RFC 9651');
  if (key === '') return unreadable('it is empty');
  if (key.length > maxKeyLength)
    return unreadable(`it has ${key.length} characters, and ${maxKeyLength} are allowed`);
  if (!/^[\u{20}-\u{7e}]+$/u.test(key))
    return unreadable('it has other characters than those of ASCII that are printed');
  return { is: 'key', key };
}

/** Parameters of the field are allowed and mean nothing yet. */
function unquoted(text: string): string | undefined {
  const inside = /^"((?:[^"\\]|\\["\\])*)"(?:\s*;[^"]*)?$/.exec(text)?.[1];
  return inside?.replaceAll(/\\(["\\])/g, '$1');
}

function unreadable(why: string): SentKey {
  return { is: 'unreadable', why };
}
