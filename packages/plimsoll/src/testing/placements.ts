/**
 * Where the parts of an app can be today. A test body that passes in each of them does not depend on it:
 * `test.each(placements)`, and `placement` of `testModule`.
 *
 * - `inline`: one process; values go from module to module as they are, as in production.
 * - `json`: one process; what goes from module to module goes through JSON, as between processes.
 * - `two-instances`: the plan runs twice on one database; calls go to either in turn, events and jobs to whichever
 *   takes them.
 * - `http`: the test's own calls go over HTTP with the typed client, where the module has a route for them.
 */
export const placements = ['inline', 'json', 'two-instances', 'http'] as const;

export type Placement = (typeof placements)[number];
