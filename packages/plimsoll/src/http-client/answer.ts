import { PlimsollError } from '../kernel/errors.ts';
import { previewOf, type ReceivedAnswer, type ReceivedHeaders } from './exchange.ts';
import type { RequestFacts } from './failure.ts';

/** What the server answered, whole: nothing of it is still to come. */
export interface HttpAnswer {
  /** 200 to 499, without 408 and 429. */
  readonly status: number;
  /** Names in lower case; a list where one was sent several times. */
  readonly headers: ReceivedHeaders;
  /** The body as UTF-8. */
  text(): string;
  /** The body as JSON, to be validated; undefined where there is none. Throws PL_REMOTE_FAILED where it is not JSON. */
  json(): unknown;
  /** The body as it came; not a copy. */
  bytes(): Uint8Array;
}

/** `what` was asked, for errors: `bank: GET /rates`. */
export class WholeAnswer implements HttpAnswer {
  readonly #received: ReceivedAnswer;
  readonly #what: string;
  readonly #facts: RequestFacts;

  constructor(received: ReceivedAnswer, what: string, facts: RequestFacts) {
    this.#received = received;
    this.#what = what;
    this.#facts = facts;
  }

  get status(): number {
    return this.#received.status;
  }

  get headers(): ReceivedHeaders {
    return this.#received.headers;
  }

  text(): string {
    return new TextDecoder().decode(this.#received.body);
  }

  json(): unknown {
    const { status, headers, body } = this.#received;
    if (body.length === 0) return undefined;
    try {
      return JSON.parse(this.text());
    } catch (cause) {
      const type = String(headers['content-type'] ?? 'no type');
      throw new PlimsollError(
        'PL_REMOTE_FAILED',
        `${this.#what}: the answer with ${status} is not JSON but ${type}; is there a proxy in between?`,
        { cause, data: { ...this.#facts, status, body: previewOf(body) } },
      );
    }
  }

  bytes(): Uint8Array {
    return this.#received.body;
  }
}
