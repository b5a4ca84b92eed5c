import { createHistogram } from 'node:perf_hooks';
import { Pool, type Dispatcher } from 'undici';

export const clientTimeoutMs = 1_000;
const path = '/work';
const tickMs = 1;

export interface Arrival {
  readonly atMs: number;
  readonly measured: boolean;
}

/** How one request ended for its client; the latency counts from the intended start. */
export type Ending =
  | { readonly kind: 'answer'; readonly status: number; readonly retryAfter: boolean; readonly ms: number }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'failed'; readonly code: string };

export interface Sent {
  readonly endings: readonly Ending[];
  /** Actual minus intended start. */
  readonly sendLagP99Ms: number;
}

/** Random arrivals, as many as the rate says, so that two subjects get the same load. */
export function arrivals(perSecond: number, fromMs: number, lastsMs: number, measured: boolean): Arrival[] {
  const count = Math.round((perSecond * lastsMs) / 1_000);
  return Array.from({ length: count }, () => ({ atMs: fromMs + Math.random() * lastsMs, measured })).toSorted(
    (a, b) => a.atMs - b.atMs,
  );
}

/** Sends each request at its time, whatever the answers do, and returns when all have ended. */
export async function sendOpen(origin: string, plan: readonly Arrival[]): Promise<Sent> {
  const pool = new Pool(origin, { pipelining: 1, connections: null, headersTimeout: 0, bodyTimeout: 0 });
  const lag = createHistogram({ lowest: 1, highest: 60_000_000, figures: 3 });
  const endings: Ending[] = [];
  const underWay = new Set<Promise<void>>();
  const startMs = performance.now();
  let next = 0;
  await everyTick(() => {
    const nowMs = performance.now() - startMs;
    for (let due = plan[next]; due !== undefined && due.atMs <= nowMs; due = plan[next]) {
      next += 1;
      if (due.measured) lag.record(Math.max(1, Math.round((performance.now() - startMs - due.atMs) * 1_000)));
      const { measured } = due;
      const ended = send(pool, startMs + due.atMs).then((ending) => {
        underWay.delete(ended);
        if (measured) endings.push(ending);
      });
      underWay.add(ended);
    }
    return next === plan.length;
  });
  await Promise.all(underWay);
  await pool.destroy();
  return { endings, sendLagP99Ms: lag.count === 0 ? 0 : lag.percentile(99) / 1_000 };
}

const calibrationParts = 3;

/**
 * So many callers, each with its next request once it has its answer: what the server can do, in requests a second. The
 * best part counts: what disturbed the others was not the server.
 */
export async function sendClosed(
  origin: string,
  callers: number,
  warmUpMs: number,
  lastsMs: number,
): Promise<number> {
  const pool = new Pool(origin, { pipelining: 1, connections: callers });
  const fromMs = performance.now() + warmUpMs;
  const partMs = lastsMs / calibrationParts;
  const answered = Array.from({ length: calibrationParts }, () => 0);
  async function caller(): Promise<void> {
    while (performance.now() < fromMs + lastsMs) {
      const { statusCode, body } = await pool.request({ path, method: 'GET' });
      const text = await body.text();
      if (statusCode !== 200) throw new Error(`the unprotected server answered ${statusCode} ${text}`);
      const part = Math.floor((performance.now() - fromMs) / partMs);
      if (part >= 0 && part < calibrationParts) answered[part] = (answered[part] ?? 0) + 1;
    }
  }
  try {
    await Promise.all(Array.from({ length: callers }, caller));
  } finally {
    await pool.destroy();
  }
  return (Math.max(...answered) * 1_000) / partMs;
}

function send(pool: Pool, intendedMs: number): Promise<Ending> {
  return new Promise((resolve) => {
    let controller: Dispatcher.DispatchController | undefined;
    let status = 0;
    let retryAfter = false;
    let isOver = false;
    const end = (ending: Ending): void => {
      isOver = true;
      clearTimeout(timer);
      resolve(ending);
    };
    const timer = setTimeout(
      () => {
        end({ kind: 'timeout' });
        controller?.abort(new Error('the client has gone'));
      },
      intendedMs + clientTimeoutMs - performance.now(),
    );
    pool.dispatch(
      { path, method: 'GET' },
      {
        onRequestStart(given) {
          controller = given;
          if (isOver) given.abort(new Error('the client has gone'));
        },
        onResponseStart(_controller, statusCode, headers) {
          status = statusCode;
          retryAfter = headers['retry-after'] !== undefined;
        },
        onResponseData() {},
        onResponseEnd() {
          end({ kind: 'answer', status, retryAfter, ms: performance.now() - intendedMs });
        },
        onResponseError(_controller, error) {
          if (!isOver) end({ kind: 'failed', code: 'code' in error ? String(error.code) : error.name });
        },
      },
    );
  });
}

/** Not `setImmediate`: spinning would take the core that the servers need. */
function everyTick(isDone: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (!isDone()) return;
      clearInterval(timer);
      resolve();
    }, tickMs);
  });
}
