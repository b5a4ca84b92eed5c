/**
 * Below these there is no finding. Precision is worth more than recall: a doctor who is wrong once is not
 * asked again. Each has its reason.
 */
export const thresholds = {
  nPlusOne: {
    /** Runs of one text within one execution. Two to four are often on purpose: a read before and after. */
    minRunsPerExecution: 5,
    /** Executions that reach it. A handful may be a warm-up or one odd customer. */
    minExecutions: 5,
    /** Part of the operation's executions that reach it. Rarer, and the gain would not be seen. */
    minShareOfExecutions: 0.1,
  },
  missingIndex: {
    /** Statements looked at, by their time in the window; below them nothing has a share worth an index. */
    maxStatements: 20,
    /** Of the database time in the window. An index costs every write; it has to earn that. */
    minShareOfDatabaseTime: 0.05,
    minCalls: 5,
    /** A statement faster than this gains nothing that a caller could notice. */
    minMeanMs: 1,
    /** A smaller table is read whole as fast as through an index. */
    minTableRows: 10_000,
    minTablePages: 100,
    /** Part of the rows that the filter keeps. Above, the planner is right to read the table. */
    maxKeptShare: 0.1,
    /** Planner cost with the index against without. Estimates err: half is well outside their error. */
    maxCostRatio: 0.5,
    /** A wider index is taken only when it costs at most this part of a narrower one. */
    widerIndexRatio: 0.5,
    /**
     * The twin must estimate as the original does, else it proves nothing. Its indexes are empty, so the pages
     * of an index cost nothing there: up to a third less, seen with ranges over an index.
     */
    maxTwinError: 0.35,
  },
} as const;
