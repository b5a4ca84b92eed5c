import type { OutgoingHttpHeaders } from 'node:http';
import { errorTable } from '../kernel/errors.ts';

/** Why a request was refused. */
export type RefusalReason = 'event loop' | 'limit' | 'client share';

/** The answer 503, made before. */
export interface Refusal {
  readonly admitted: false;
  readonly reason: RefusalReason;
  readonly retryAfterSeconds: number;
  readonly headers: Readonly<OutgoingHttpHeaders>;
  readonly body: string;
}

const { status, summary } = errorTable.PL_OVERLOADED;
const body = JSON.stringify({
  type: 'urn:plimsoll:error:PL_OVERLOADED',
  title: summary,
  status,
  code: 'PL_OVERLOADED',
});

/** The refusals there are, so that refusing makes nothing: by seconds from 1 to `maxSeconds`. */
export function refusalsFor(reason: RefusalReason, maxSeconds: number): readonly Refusal[] {
  return Array.from({ length: maxSeconds }, (_, index) => {
    const retryAfterSeconds = index + 1;
    const headers = {
      'content-type': 'application/problem+json',
      'content-length': String(Buffer.byteLength(body)),
      'cache-control': 'no-store',
      'retry-after': String(retryAfterSeconds),
    };
    return { admitted: false, reason, retryAfterSeconds, headers, body };
  });
}
