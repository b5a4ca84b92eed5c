import { setTimeout } from 'node:timers/promises';

export interface Checked {
  readonly reads: number;
  readonly writes: number;
  /** Requests that were refused or failed: overload is not what this is about. */
  readonly failed: number;
  /** Answers that showed less than the session had seen before, or had written. */
  readonly violations: readonly string[];
}

export interface CheckedSessionsOptions {
  readonly target: string;
  readonly skus: readonly string[];
  /** Default 8. */
  readonly sessions?: number;
  /** Of a session between its requests. Default 20. */
  readonly pauseMs?: number;
  /** No two runs on one database may have the same: a customer has one review of a product. */
  readonly firstCustomerId: number;
  readonly signal: AbortSignal;
}

/**
 * Customers who look at product pages and write reviews, and carry the causality token as a browser would. The number
 * of reviews never falls, and one's own is one more: so it is known what a page must show at least.
 */
export async function runCheckedSessions(options: CheckedSessionsOptions): Promise<Checked> {
  const { target, skus, sessions = 8, pauseMs = 20, firstCustomerId, signal } = options;
  const counts = { reads: 0, writes: 0, failed: 0 };
  const violations: string[] = [];
  let customerId = firstCustomerId;

  async function session(number: number): Promise<void> {
    const atLeast = new Map<string, number>();
    // Empty asks for the first one.
    let token = '';
    const ask = async (path: string, body?: object): Promise<Response | undefined> => {
      const post = { method: 'POST', body: JSON.stringify(body) };
      const headers = {
        'plimsoll-seen': token,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      };
      const answer = await fetch(target + path, {
        ...(body === undefined ? {} : post),
        headers,
        signal,
      }).catch(() => undefined);
      if (answer === undefined) return undefined;
      token = answer.headers.get('plimsoll-seen') ?? token;
      return answer;
    };
    for (let step = number; !signal.aborted; step += 1) {
      const sku = skus[step % skus.length] ?? '';
      const isWrite = step % 10 === 0;
      const path = `/products/${encodeURIComponent(sku)}`;
      let least = atLeast.get(sku) ?? 0;
      if (isWrite) {
        customerId += 1;
        const written = await ask(`${path}/reviews`, { customerId, stars: 5, text: 'as described' });
        await written?.arrayBuffer().catch(() => undefined);
        if (written?.ok === true) {
          counts.writes += 1;
          least += 1;
        } else if (!signal.aborted) counts.failed += 1;
      }
      const answer = await ask(path);
      const page = (await answer?.json().catch(() => undefined)) as
        | { rating?: { count: number } }
        | null
        | undefined;
      const shown = answer?.ok === true ? page?.rating?.count : undefined;
      if (shown === undefined) {
        if (!signal.aborted) counts.failed += 1;
      } else {
        counts.reads += 1;
        if (shown < least)
          violations.push(`session ${number}: ${sku} showed ${shown} reviews, and must show ${least}`);
      }
      atLeast.set(sku, Math.max(shown ?? 0, least));
      await setTimeout(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }

  await Promise.all(Array.from({ length: sessions }, (_, number) => session(number)));
  return { ...counts, violations };
}
