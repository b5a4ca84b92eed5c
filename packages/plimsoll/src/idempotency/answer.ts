import { Buffer } from 'node:buffer';

/** What an idempotent route answers. */
export interface Answer {
  /** Default 200, or 204 without a body. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Text and bytes are sent as they are, anything else as JSON. Default none. */
  readonly body?: unknown;
}

/** As it is sent, the first time and every other. */
export interface WireAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | undefined;
}

/** As it is recorded. */
export interface RecordedAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text?: string;
  /** Of bytes. */
  readonly base64?: string;
}

export function wireAnswer({ status, headers = {}, body }: Answer): WireAnswer {
  const fields = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  if (body === undefined) return { status: status ?? 204, headers: fields, body };
  if (typeof body === 'string' || body instanceof Uint8Array)
    return { status: status ?? 200, headers: fields, body };
  return {
    status: status ?? 200,
    headers: { 'content-type': 'application/json; charset=utf-8', ...fields },
    body: JSON.stringify(body),
  };
}

export function recordedAnswer({ status, headers, body }: WireAnswer): RecordedAnswer {
  if (body === undefined) return { status, headers };
  return typeof body === 'string'
    ? { status, headers, text: body }
    : { status, headers, base64: Buffer.from(body).toString('base64') };
}

export function answerRecorded({ status, headers, text, base64 }: RecordedAnswer): WireAnswer {
  return { status, headers, body: base64 === undefined ? text : Buffer.from(base64, 'base64') };
}
