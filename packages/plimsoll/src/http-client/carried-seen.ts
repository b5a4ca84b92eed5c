import { seenHeader } from '../kernel/seen-header.ts';
import { seenTokens, type SeenTokens } from '../kernel/seen-token.ts';
import type { Seen } from '../kernel/seen.ts';
import type { ReceivedHeaders } from './exchange.ts';
import type { HttpClientOptions } from './options.ts';

/** Sends what the running request has seen to a server that has the same secret, and takes in what that has seen. */
export class CarriedSeen {
  readonly #tokens: SeenTokens;

  /** Undefined where the options do not ask for it: no server is told what it need not know. */
  static of({ seen = false }: HttpClientOptions): CarriedSeen | undefined {
    return seen === false
      ? undefined
      : new CarriedSeen(seen === true ? seenTokens() : seenTokens(seen.secret));
  }

  private constructor(tokens: SeenTokens) {
    this.#tokens = tokens;
  }

  sent(seen: Seen | undefined): string | undefined {
    return seen === undefined ? undefined : this.#tokens.write(seen);
  }

  /** What cannot be read counts for nothing. */
  take(seen: Seen | undefined, headers: ReceivedHeaders | undefined): void {
    const token = headers?.[seenHeader];
    const read = typeof token === 'string' ? this.#tokens.read(token) : undefined;
    if (read !== undefined) seen?.mergeAll(read);
  }
}
