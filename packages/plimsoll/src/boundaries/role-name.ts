import { createHash } from 'node:crypto';

/** Of a name in PostgreSQL, which cuts what is longer. */
const maxBytes = 63;

/**
 * `plimsoll.<database>.<module>`: roles belong to the whole server, so two databases of one server need two. A name
 * that is too long is cut and ends with a hash of the whole.
 */
export function roleName(database: string, module: string): string {
  const name = `plimsoll.${database}.${module}`;
  if (Buffer.byteLength(name) <= maxBytes) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 16);
  let start = '';
  for (const character of name) {
    if (Buffer.byteLength(start + character) > maxBytes - hash.length - 1) break;
    start += character;
  }
  return `${start}.${hash}`;
}
