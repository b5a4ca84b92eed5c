/** A shared cache that we do not run inside of us: a CDN, Varnish. */
export interface Purger {
  /** Of this cache among others, for as long as purges of it may be waiting: it stands in their rows. */
  readonly name: string;
  /**
   * Resolves when nothing that carries one of these tags is answered as fresh any more; doing it twice does no harm.
   * Rejects with PL_REMOTE_FAILED for a refusal, PL_NETWORK where no answer came, PL_TIMEOUT or PL_BREAKER_OPEN; with
   * `data.retryAfterMs` where the cache asks to be left alone. Part of it may have been done then. `signal` cancels it.
   */
  purge(tags: readonly string[], signal?: AbortSignal): Promise<void>;
}

/** `items` in parts of at most `most`. */
export function partsOf<T>(items: readonly T[], most: number): readonly (readonly T[])[] {
  const parts: T[][] = [];
  for (let at = 0; at < items.length; at += most) parts.push(items.slice(at, at + most));
  return parts;
}
