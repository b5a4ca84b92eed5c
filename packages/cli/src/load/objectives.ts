export interface Objective {
  readonly p95Ms: number;
  /** Share of requests, 0..1. Rounded up to a whole request, so 0.001 allows one error in 300. */
  readonly errorRate: number;
}

export interface Objectives {
  readonly default: Objective;
  readonly byOperation: Readonly<Record<string, Objective>>;
}

export function objectiveOf(objectives: Objectives, operation: string): Objective {
  return objectives.byOperation[operation] ?? objectives.default;
}

const everyP95Ms = (objectives: Objectives): number[] =>
  [objectives.default, ...Object.values(objectives.byOperation)].map((objective) => objective.p95Ms);

export function tightestP95Ms(objectives: Objectives): number {
  return Math.min(...everyP95Ms(objectives));
}

export function loosestP95Ms(objectives: Objectives): number {
  return Math.max(...everyP95Ms(objectives));
}

/** How long the generator waits for one response: long enough to see a slow tail, short enough to end a step. */
export function clientTimeoutMs(objectives: Objectives): number {
  return Math.min(10_000, Math.max(2_000, 10 * loosestP95Ms(objectives)));
}
