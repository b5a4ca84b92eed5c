import { gatewayDefaults } from '../gateway/options.ts';
import type { Route } from '../gateway/route.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import type { AnyOperation } from '../modules/contract.ts';
import type { Objective, OperationObjective, PlanOptions } from './plan-options.ts';
import { planProblems } from './plan-problems.ts';

export function objective(operation: AnyOperation, of: Objective): OperationObjective {
  return { operation, ...of };
}

/** A plan that was checked. */
export interface Plan extends PlanOptions {
  readonly http: NonNullable<PlanOptions['http']> & {
    readonly host: string;
    readonly port: number;
    readonly routes: readonly Route[];
  };
}

/** Checks the plan and reports every problem at once, as PL_CONFIG. */
export function plan(options: PlanOptions): Plan {
  throwIfProblems('the plan', planProblems(options));
  const { host, port } = gatewayDefaults;
  return { ...options, http: { host, port, routes: [], ...options.http } };
}
