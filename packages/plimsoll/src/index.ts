/**
 * `plimsoll`: modules, the plan and the app.
 *
 * Guarantee: one command is one transaction of one module; its events and jobs exist exactly when it
 * commits; each reaction to an event has its database effect once.
 */
export {
  command,
  contract,
  event,
  membersOf,
  query,
  type Command,
  type CommandJobOptions,
  type Contract,
  type Event,
  type PersonalData,
  type Failure,
  type Query,
  type Result,
  type TagsOf,
  type VoidSchema,
} from './modules/contract.ts';
export {
  module,
  type CommandContext,
  type Delivery,
  type EnqueueOptions,
  type Module,
  type QueryContext,
  type StartOptions,
  type SubscriptionContext,
} from './modules/module.ts';
export { eraseSubject, type Erasure, type ErasureRequest } from './modules/erase-subject.ts';
export { type Unerased } from './modules/unerased.ts';
export { saga, type Run, type Saga } from './saga/saga.ts';
export { policyFor, type ModulePolicy, type ModulePolicyOverride } from './modules/module-policies.ts';
export { cached, type CachedQuery, type CallerPart, type QueryCacheOptions } from './modules/query-cache.ts';
export { type Owns } from './modules/ownership.ts';
export { view, type View } from './views/view.ts';
export { type QueueLimits, type TaskRate } from './durable/limits.ts';
export { sql } from './database/sql.ts';
export { systemClock, type Clock } from './kernel/clock.ts';
export {
  createContext,
  currentContext,
  runInContext,
  type Caller,
  type RequestContext,
} from './kernel/context.ts';
export { errorTable, isPlimsollError, PlimsollError, type ErrorCode, type Problem } from './kernel/errors.ts';
export {
  createLifecycle,
  type Lifecycle,
  type LifecycleHooks,
  type LifecycleState,
} from './kernel/lifecycle.ts';
export { createApp, type App, type AppOptions, type AppTelemetry } from './app/app.ts';
export { type TaskCounts } from './app/task-counts.ts';
export {
  type CachePlan,
  type Objective,
  type OperationObjective,
  type PlanOptions,
} from './app/plan-options.ts';
export { objective, plan, type Plan } from './app/plan.ts';
export { route, type Route, type RouteOptions } from './gateway/route.ts';
export { migrationsOf } from './app/migrations.ts';
