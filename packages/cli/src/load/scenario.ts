/** One HTTP request to send, at a time relative to the start of its session. */
export interface PlannedRequest {
  /** The unit of reporting, such as `orders.place`. */
  readonly operation: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** JSON text. */
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Offset from the arrival of the session. */
  readonly afterMs: number;
  /** Statuses from 400 up that are a right answer here, such as 409 when the stock is gone. */
  readonly accepts?: readonly number[];
}

/** A scenario is an endless stream of sessions plus the real arrival pattern. */
export interface Scenario {
  readonly name: string;
  /** Mean over many sessions; checked against the sessions before the run. */
  readonly requestsPerSession: number;
  session(index: number, random: () => number): readonly PlannedRequest[];
  /** Gaps between arrivals of sessions, normalised to mean 1, used in order and repeated; Poisson when absent. */
  readonly gaps?: readonly number[];
}

export interface ScheduledRequest {
  readonly request: PlannedRequest;
  /** Intended start, from the beginning of the step. Latency counts from here. */
  readonly atMs: number;
  /** False during the lead-in. */
  readonly measured: boolean;
}

export interface Schedule {
  readonly requests: readonly ScheduledRequest[];
  readonly nextSession: number;
}

export interface ScheduleInput {
  readonly scenario: Scenario;
  readonly rateRps: number;
  /**
   * Unmeasured start of the step. A session's later requests come after its arrival, so without a lead-in
   * as long as a session the first seconds of every step would carry less than the stated rate.
   */
  readonly leadInMs: number;
  readonly measuredMs: number;
  readonly firstSession: number;
  readonly random: () => number;
}

/**
 * Fixes every request of a step in advance. The number of sessions is exact for the rate (gaps are scaled
 * to fill the step), which takes counting noise out of the comparison of two rates; the bursts inside the
 * step stay. Requests that fall past the end of the step are not planned.
 */
export function scheduleStep(input: ScheduleInput): Schedule {
  const { scenario, leadInMs, firstSession, random } = input;
  const totalMs = leadInMs + input.measuredMs;
  const sessions = Math.max(1, Math.round((input.rateRps * totalMs) / 1000 / scenario.requestsPerSession));
  const gapOf = (index: number): number =>
    scenario.gaps === undefined
      ? -Math.log(1 - random())
      : (scenario.gaps[index % scenario.gaps.length] ?? 1);

  const arrivals: number[] = [];
  let elapsed = 0;
  for (let index = 0; index < sessions; index += 1) arrivals.push((elapsed += gapOf(firstSession + index)));
  // A mean gap after the last arrival keeps it inside the step.
  const scaleMs = elapsed > 0 ? totalMs / (elapsed + elapsed / sessions) : 0;

  const requests: ScheduledRequest[] = [];
  for (const [offset, arrival] of arrivals.entries()) {
    for (const request of scenario.session(firstSession + offset, random)) {
      const atMs = arrival * scaleMs + request.afterMs;
      if (atMs < totalMs) requests.push({ request, atMs, measured: atMs >= leadInMs });
    }
  }
  requests.sort((left, right) => left.atMs - right.atMs);
  return { requests, nextSession: firstSession + sessions };
}

/** What the sessions really are, from a sample of them: checks `requestsPerSession` and sets the lead-in. */
export function surveySessions(
  scenario: Scenario,
  random: () => number,
): { readonly meanRequests: number; readonly longestMs: number } {
  const sampled = 500;
  let requests = 0;
  let longestMs = 0;
  for (let index = 0; index < sampled; index += 1) {
    const session = scenario.session(index, random);
    requests += session.length;
    for (const request of session) longestMs = Math.max(longestMs, request.afterMs);
  }
  return { meanRequests: requests / sampled, longestMs };
}
