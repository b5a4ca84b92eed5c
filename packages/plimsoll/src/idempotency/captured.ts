import { Buffer } from 'node:buffer';
import type { WireAnswer } from './answer.ts';

/** Of the connection, or of one request and not of its work. */
const neverRecorded = new Set([
  'connection',
  'content-length',
  'date',
  'keep-alive',
  'plimsoll-seen',
  'set-cookie',
  'traceparent',
  'transfer-encoding',
  'x-correlation-id',
]);

/** The fields of an answer that belong to its replay. */
export function recordedFields(
  headers: Readonly<Record<string, number | string | readonly string[] | undefined>>,
): WireAnswer['headers'] {
  const fields: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined && !neverRecorded.has(name.toLowerCase()))
      fields[name.toLowerCase()] = Array.isArray(value) ? value.join(', ') : String(value);
  return fields;
}

/** The bytes of an answer as they are written, up to a limit. */
export class CapturedBody {
  readonly #maxBytes: number;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** What is no chunk, such as a callback, is left out. */
  add(chunk: unknown, encoding: unknown): void {
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) return;
    const bytes =
      typeof chunk === 'string'
        ? Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8')
        : Buffer.from(chunk);
    this.#bytes += bytes.length;
    if (this.#bytes <= this.#maxBytes) this.#chunks.push(bytes);
    else this.#chunks.length = 0;
  }

  get isTooLarge(): boolean {
    return this.#bytes > this.#maxBytes;
  }

  /** As text where it is text. */
  get body(): WireAnswer['body'] {
    if (this.#bytes === 0) return undefined;
    const all = Buffer.concat(this.#chunks);
    const text = all.toString('utf8');
    return Buffer.from(text).equals(all) ? text : all;
  }
}
