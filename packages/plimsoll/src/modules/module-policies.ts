import { isPlimsollError, type Problem } from '../kernel/errors.ts';
import { failureKind, type FailureKind } from '../kernel/failure-kind.ts';
import type { PolicyOptions } from '../policy/options.ts';
import { createPolicy, type Policy } from '../policy/policy.ts';
import type { AnyContract } from './contract.ts';

/** The guards of the calls into one module; `false` leaves one out. */
export type ModulePolicy = Pick<PolicyOptions, 'retry' | 'breaker' | 'bulkhead' | 'timeout'>;

type Given<Guard extends keyof ModulePolicy> = Exclude<ModulePolicy[Guard], false | undefined>;

/** A module whose policy is not that of the others; guards that are not named are as theirs. */
export interface ModulePolicyOverride extends ModulePolicy {
  readonly contract: AnyContract;
}

export function policyFor(contract: AnyContract, policy: ModulePolicy): ModulePolicyOverride {
  return { contract, ...policy };
}

/**
 * Generous: they are for a module that is down, not for one that is busy. The time limit of a call is that of its
 * operation, so there is no other one.
 */
export const modulePolicyDefaults = {
  retry: { attempts: 2 },
  breaker: { classify: isUnavailable },
  bulkhead: { max: 200, maxWaiting: 200, maxWaitMs: 1_000 },
  timeout: false,
} as const satisfies ModulePolicy;

/** A bug fails the calls that meet it, and says nothing of the others; what is away or late fails them all. */
function isUnavailable(error: unknown): FailureKind {
  const kind = failureKind(error);
  if (kind !== 'failure') return kind;
  return isPlimsollError(error) && (error.status === 503 || error.status === 504) ? 'failure' : 'caller';
}

export interface ModulePolicies {
  /** Of the calls into the module that implements the contract; undefined where there is none. */
  of(contract: string): Policy | undefined;
  /** Those that were needed until now. */
  all(): readonly Policy[];
}

export interface ModulePoliciesOptions {
  readonly scope: object;
  readonly modules?: ModulePolicy | false | undefined;
  readonly overrides?: readonly ModulePolicyOverride[] | undefined;
}

/** One policy for each module, made with the first call. */
export function createModulePolicies({
  scope,
  modules,
  overrides = [],
}: ModulePoliciesOptions): ModulePolicies {
  const policies = new Map<string, Policy>();
  const differing = new Map(overrides.map(({ contract, ...policy }) => [contract.$name, policy]));

  function make(contract: string): Policy | undefined {
    const own = differing.get(contract);
    if (modules === false && own === undefined) return undefined;
    const common = modules === false ? undefined : modules;
    const policy = createPolicy({
      name: contract,
      scope,
      retry: joined<Given<'retry'>>(modulePolicyDefaults.retry, common?.retry, own?.retry),
      breaker: joined<Given<'breaker'>>(modulePolicyDefaults.breaker, common?.breaker, own?.breaker),
      bulkhead: joined<Given<'bulkhead'>>(modulePolicyDefaults.bulkhead, common?.bulkhead, own?.bulkhead),
      timeout: own?.timeout ?? common?.timeout ?? modulePolicyDefaults.timeout,
    });
    policies.set(contract, policy);
    return policy;
  }

  return {
    of: (contract) => policies.get(contract) ?? make(contract),
    all: () => [...policies.values()],
  };
}

/** What is said last holds; options of one guard that are not named stay as they are. */
function joined<Options extends object>(
  defaults: Options,
  ...said: readonly (Options | false | undefined)[]
): Options | false {
  let options: Options | false = defaults;
  for (const each of said)
    if (each !== undefined) options = each === false ? false : { ...(options || defaults), ...each };
  return options;
}

const noGuard = { retry: false, breaker: false, bulkhead: false, timeout: false } as const;
const guards = Object.keys(noGuard) as (keyof ModulePolicy)[];

/** What the policies ask for that cannot be, all at once. */
export function modulePolicyProblems(
  { modules, overrides = [] }: Omit<ModulePoliciesOptions, 'scope'>,
  names: ReadonlySet<string>,
): readonly Problem[] {
  const problems: Problem[] = [];
  const check = (path: string, policy: ModulePolicy): void => {
    for (const guard of guards) {
      try {
        createPolicy({ name: path, ...noGuard, [guard]: policy[guard] ?? false });
      } catch (error) {
        if (!isPlimsollError(error, 'PL_CONFIG')) throw error;
        for (const found of error.data['problems'] as readonly Problem[])
          problems.push({ path: `${path}.${guard}.${found.path}`, message: found.message });
      }
    }
  };
  check('modules', modules || {});
  for (const [index, override] of overrides.entries()) {
    const { contract, ...policy } = override;
    const path = `overrides[${index}]`;
    if (!names.has(contract.$name))
      problems.push({ path, message: `no module of the plan implements ${contract.$name}` });
    check(path, policy);
  }
  return problems;
}
