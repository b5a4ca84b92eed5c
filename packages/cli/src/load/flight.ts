import type { Answer, Exchange, LoadClient } from './http-client.ts';
import type { ScheduledRequest } from './scenario.ts';
import type { Ending } from './tally.ts';

export interface FlightOptions {
  readonly client: LoadClient;
  readonly timeoutMs: number;
  readonly maxInFlight: number;
  readonly now: () => number;
  /** Called exactly once for every launched request, refused ones included. */
  readonly onEnd: (scheduled: ScheduledRequest, ending: Ending, latencyMs: number) => void;
}

/** The requests that are on their way. None of them waits for another. */
export interface Flight {
  readonly size: number;
  /** `intendedMs` is on the clock of `now`. False when the bound refused to send it. */
  launch(scheduled: ScheduledRequest, intendedMs: number): boolean;
  /** Ends those whose time is up. */
  expire(): void;
  /** How many are older than the limit of their operation: bad already, whatever they answer. */
  countOlderThan(limitMs: (operation: string) => number): number;
  /** Ends all of them as timeouts at their present age. */
  giveUp(): void;
}

interface Airborne {
  readonly scheduled: ScheduledRequest;
  readonly intendedMs: number;
  exchange: Exchange | undefined; // set once, right after the request was handed over
}

export function createFlight(options: FlightOptions): Flight {
  const { client, timeoutMs, maxInFlight, now, onEnd } = options;
  // In the order of intended starts, since requests are launched in that order.
  const airborne = new Set<Airborne>();

  const end = (entry: Airborne, ending: Ending, latencyMs: number): void => {
    if (airborne.delete(entry)) onEnd(entry.scheduled, ending, latencyMs);
  };

  return {
    get size(): number {
      return airborne.size;
    },
    launch(scheduled, intendedMs): boolean {
      if (airborne.size >= maxInFlight) {
        onEnd(scheduled, { kind: 'refused' }, timeoutMs);
        return false;
      }
      const entry: Airborne = { scheduled, intendedMs, exchange: undefined };
      airborne.add(entry);
      entry.exchange = client.send(scheduled.request, (answer) => {
        end(entry, endingOf(answer, scheduled.request.accepts), now() - intendedMs);
      });
      return true;
    },
    expire(): void {
      const dueMs = now() - timeoutMs;
      for (const entry of airborne) {
        if (entry.intendedMs > dueMs) return;
        entry.exchange?.cancel();
        end(entry, { kind: 'timeout' }, timeoutMs);
      }
    },
    countOlderThan(limitMs): number {
      const nowMs = now();
      let count = 0;
      for (const { scheduled, intendedMs } of airborne) {
        if (scheduled.measured && nowMs - intendedMs > limitMs(scheduled.request.operation)) count += 1;
      }
      return count;
    },
    giveUp(): void {
      for (const entry of airborne) {
        entry.exchange?.cancel();
        end(entry, { kind: 'timeout' }, now() - entry.intendedMs);
      }
    },
  };
}

function endingOf(answer: Answer, accepts: readonly number[] | undefined): Ending {
  if (answer.kind === 'connection') return answer;
  if (answer.status < 400 || accepts?.includes(answer.status) === true) return { kind: 'ok' };
  // Whoever refuses for now says for how long.
  const mute = answer.status === 503 && !answer.saysWhen;
  return { kind: 'status', detail: mute ? '503 without Retry-After' : String(answer.status) };
}
