/** What is wrong: answers that may be wrong come first, then what costs time. */
export type Finding = CacheFinding | StatementFinding;

/** A command changes what a cached query answers, and nobody tells the cache. */
export interface CacheFinding {
  readonly rule: 'missed-invalidation';
  readonly title: string;
  /** The query, and the command. */
  readonly operations: readonly [query: string, writer: string];
  readonly table: string;
  readonly evidence: readonly string[];
  readonly fix: Fix;
  /** Run after the fix, while the command is in use. */
  readonly verify: string;
}

/** A statement that takes more time than it has to. */
export interface StatementFinding {
  readonly rule: 'n-plus-one' | 'missing-index';
  /** What is wrong, in one line. */
  readonly title: string;
  /** Operations of the app that run the statement; empty when none of them does. */
  readonly operations: readonly string[];
  readonly table?: string;
  readonly statement: string;
  /** Counts, plan nodes, sizes: one sentence each. */
  readonly evidence: readonly string[];
  readonly cost: FindingCost;
  readonly fix: Fix;
  readonly gain: Gain;
  /** Whether `gain` was established, by counts or by the planner; otherwise `unprovedBecause` says why not. */
  readonly proved: boolean;
  readonly unprovedBecause?: string;
  /** Run before and after the fix. */
  readonly verify: string;
}

export interface FindingCost {
  /** Of one execution of the operation (n-plus-one) or one call of the statement (missing-index). */
  readonly msPerCall: number;
  readonly callsPerSecond: number;
  /** Of the time that was spent on statements in the window: seen from the app (n-plus-one) or by the servers (missing-index). */
  readonly share: number;
  /**
   * What the fix would save of it, in ms per second of the window; the order of the findings. The cost was
   * measured, the part that goes is estimated: by the planner, or as all runs of a statement but one.
   */
  readonly savedMsPerSecond: number;
  /** Absent when no operation of the app runs the statement, or the app does not tell its times. */
  readonly operation?: OperationCost;
}

/** What the operation that spends the most time on the statement took in the window, measured in the app. */
export interface OperationCost {
  readonly name: string;
  readonly meanMs: number;
  /** The 95th percentile lies between two bounds of a histogram; the upper one is null beyond the highest. */
  readonly p95: { readonly aboveMs: number; readonly atMostMs: number | null };
  /** Part of its time that it waits for the statement. */
  readonly share: number;
}

export interface Fix {
  readonly text: string;
  /** Exact, to be run as it stands. */
  readonly sql?: string;
  /** A pattern to follow; the doctor does not see the source. */
  readonly code?: string;
}

export interface Gain {
  readonly unit: 'statements per execution' | 'planner cost';
  readonly before: number;
  /** Null when it could not be established. */
  readonly after: number | null;
}

export interface DoctorReport {
  readonly target: string;
  readonly windowMs: number;
  /** Worst first. */
  readonly findings: readonly Finding[];
  readonly examined: {
    readonly operations: number;
    readonly executions: number;
    /** Distinct statements that ran on the servers in the window; null when they could not be read. */
    readonly statements: number | null;
    readonly databaseMs: number | null;
  };
  /** What it could not see, and what to do about that. */
  readonly blindSpots: readonly string[];
}

/** Proved findings first, then by what the fix saves. */
export function ranked(findings: readonly StatementFinding[]): readonly StatementFinding[] {
  return findings.toSorted(
    (a, b) => Number(b.proved) - Number(a.proved) || b.cost.savedMsPerSecond - a.cost.savedMsPerSecond,
  );
}
