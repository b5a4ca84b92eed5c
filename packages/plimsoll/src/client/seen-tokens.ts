import { maxSentTokens } from '../kernel/seen-header.ts';

/** The newest tokens of a server. They may be sealed, so they are only kept, and the server makes one of them. */
export interface SeenTokens {
  /** What the next request has to carry. */
  held(): readonly string[];
  /** An answer's token holds all that its request has sent. */
  replace(sent: readonly string[], answered: string): void;
}

/** Servers take some 16 KiB of headers in all. */
const maxLength = 8_192;

/**
 * More than one is held only where answers come at the same time, because neither knows of the other. Of more than a
 * request may carry, the oldest is forgotten.
 */
export function createSeenTokens(): SeenTokens {
  let tokens: readonly string[] = [];
  return {
    held: () => tokens,
    replace(sent, answered) {
      const others = tokens.filter((token) => !sent.includes(token) && token !== answered);
      tokens = [...others, answered].slice(-maxSentTokens);
      while (tokens.length > 1 && tokens.join().length > maxLength) tokens = tokens.slice(1);
    },
  };
}
