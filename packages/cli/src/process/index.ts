/**
 * `@plimsoll/cli/process`: processes of ours that belong together.
 *
 * Guarantee: a child says when it is ready, is stopped by SIGTERM first, and ends when its parent ends,
 * even when the parent is killed; Ctrl-C in the terminal reaches the parent only, which stops the children
 * in its order.
 */
export { ChildError, startChild, type Child, type ChildOptions } from './child.ts';
export { untilStopped } from './until-stopped.ts';
