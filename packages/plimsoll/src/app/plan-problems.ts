import { isIP } from 'node:net';
import type { Problem } from '../kernel/errors.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { corsProblems } from '../gateway/hardening.ts';
import { routeLimitProblems } from '../gateway/route-limits.ts';
import { routingProblems } from '../database/routing/options.ts';
import { methodOf, routeProblems } from '../gateway/route.ts';
import { seenProblems } from '../gateway/seen-exchange.ts';
import { sessionProblems } from '../gateway/session-store.ts';
import { cachedQueryProblems } from '../modules/query-cache.ts';
import { commandRecordProblems } from '../modules/command-record.ts';
import { modulePolicyProblems } from '../modules/module-policies.ts';
import { shedProblems } from '../shed/options.ts';
import { createRegistry, type Registry } from '../modules/registry.ts';
import { builderProblems, viewBuilderDefaults } from '../views/builder.ts';
import { breakerProblems } from '../breaker/options.ts';
import { poolBreakerDefaults } from '../database/pool-guard.ts';
import type { Objective, PlanOptions } from './plan-options.ts';

/** Every problem of a plan, with its path; empty when it is sound. */
export function planProblems(plan: PlanOptions): readonly Problem[] {
  const problems: Problem[] = [];
  const check = (path: string, ok: boolean, message: string): void => {
    if (!ok) problems.push({ path, message });
  };
  const number = (path: string, value: unknown, min: number, max: number, whole: boolean): void => {
    if (value === undefined) return;
    const fits =
      typeof value === 'number' && value >= min && value <= max && (!whole || Number.isInteger(value));
    check(
      path,
      fits,
      `is ${JSON.stringify(value) ?? typeof value}; want a ${whole ? 'whole ' : ''}number from ${min} to ${max}`,
    );
  };

  check(
    'name',
    typeof plan.name === 'string' && /^[a-z][a-z0-9-]*$/.test(plan.name),
    `is ${JSON.stringify(plan.name)}; want lower-case letters, digits and dashes`,
  );
  check('modules', plan.modules.length > 0, 'is empty; list at least one module');
  number('timeoutMs', plan.timeoutMs, 1, 3_600_000, true);
  number(
    'expectedPeak.requestsPerSecond',
    plan.expectedPeak.requestsPerSecond ?? null,
    0.01,
    1_000_000,
    false,
  );

  const { http = {}, database = {}, worker = {}, events = {} } = plan;
  number('http.port', http.port, 0, 65_535, true);
  number('http.maxBodyBytes', http.maxBodyBytes, 1, 1_073_741_824, true);
  number('http.requestTimeoutMs', http.requestTimeoutMs, 1, 3_600_000, true);
  number('http.maxInFlight', http.maxInFlight, 1, 1_000_000, true);
  number('http.drainMs', http.drainMs, 0, 3_600_000, true);
  number('http.answerTimeoutMs', http.answerTimeoutMs, 1, 3_600_000, true);
  number('http.maxHeaders', http.maxHeaders, 1, 2_000, true);
  if (http.cors !== undefined) problems.push(...corsProblems(http.cors, 'http.cors'));
  problems.push(...seenProblems(http.seen, 'http.seen'));
  if (http.sessions !== undefined) problems.push(...sessionProblems(http.sessions, 'http.sessions'));
  for (const [index, proxy] of (http.trustProxy ?? []).entries()) {
    const [address = '', bits = '0', more] = proxy.split('/');
    const most = isIP(address) === 4 ? 32 : 128;
    const sound = isIP(address) !== 0 && more === undefined && /^\d{1,3}$/.test(bits) && Number(bits) <= most;
    check(
      `http.trustProxy[${index}]`,
      sound,
      `is ${JSON.stringify(proxy)}; want an address or a network such as "10.0.0.0/8"`,
    );
  }
  for (const { path, message } of commandRecordProblems(plan.idempotency ?? {}))
    problems.push({ path: `idempotency.${path}`, message });
  number('telemetry.sampleRatio', plan.telemetry?.sampleRatio, 0, 1, false);
  number('telemetry.slowMs', plan.telemetry?.slowMs, 0, 3_600_000, false);
  number('telemetry.poolWaitMs', plan.telemetry?.poolWaitMs, 0, 3_600_000, false);
  number('database.embeddedReplicas', database.embeddedReplicas, 0, 8, true);
  const { breaker, ...sizes } = database.pool ?? {};
  for (const [name, value] of Object.entries(sizes)) {
    number(`database.pool.${name}`, value, 1, name.startsWith('max') ? 1_000 : 3_600_000, true);
  }
  if (breaker !== undefined && breaker !== false)
    for (const { path, message } of breakerProblems({ name: 'database', ...poolBreakerDefaults, ...breaker }))
      problems.push({ path: `database.pool.breaker.${path}`, message });
  // Which replicas there will be is not known here: the combinations that need some are refused at the start.
  for (const { path, message } of routingProblems(database.routing ?? {}, database.consistency, 0))
    problems.push({ path: `database.${path}`, message });
  const urls = [
    ...(database.url === undefined ? [] : [{ path: 'database.url', url: database.url }]),
    ...(database.replicaUrls ?? []).map((url, index) => ({ path: `database.replicaUrls[${index}]`, url })),
  ];
  // The value is not shown: it may hold a password.
  for (const { path, url } of urls)
    check(path, /^postgres(ql)?:\/\//.test(url) && URL.canParse(url), 'is not a postgres:// URL');
  number('events.retainMs', events.retainMs, 60_000, 100 * 365 * 86_400_000, true);
  number('events.partitionMs', events.partitionMs, 60_000, 365 * 86_400_000, true);
  number('events.budget.outboxMs', events.budget?.outboxMs, 1, 86_400_000, true);
  number('events.budget.backlog', events.budget?.backlog, 1, 1_000_000_000, true);
  number('worker.concurrency', worker.concurrency, 1, 1_000, true);
  number('worker.pollMs', worker.pollMs, 10, 60_000, true);
  number('worker.drainMs', worker.drainMs, 0, 3_600_000, true);
  number('views.waitMs', plan.views?.waitMs, 0, 60_000, false);
  for (const { path, message } of builderProblems({ ...viewBuilderDefaults, ...plan.views }))
    problems.push({ path: `views.${path}`, message });

  check(
    'boundaries.statements',
    ['refuse', 'report', 'off', undefined].includes(plan.boundaries?.statements),
    `is ${JSON.stringify(plan.boundaries?.statements)}; want "refuse", "report" or "off"`,
  );

  const { roles } = plan.boundaries ?? {};
  check(
    'boundaries.roles',
    [true, false, undefined].includes(roles),
    `is ${JSON.stringify(roles)}; want true or false`,
  );

  const registry = registryOf(plan, problems);
  if (registry === undefined) return problems;

  for (const { path, message } of routeLimitProblems({ ...http, routes: http.routes ?? [] }))
    problems.push({ path: `http.${path}`, message });
  if (http.shed !== undefined && http.shed !== false)
    for (const { path, message } of shedProblems({ name: 'gateway', ...http.shed }))
      problems.push({ path: `http.shed.${path}`, message });
  const { modules: common, overrides } = plan.policies ?? {};
  const names = new Set(plan.modules.map((module) => module.name));
  for (const { path, message } of modulePolicyProblems({ modules: common, overrides }, names))
    problems.push({ path: `policies.${path}`, message });

  const { cache } = plan;
  if (cache !== undefined) {
    problems.push(...cachedQueryProblems(cache.queries, 'cache.queries'));
    number('cache.sampleEvery', cache.sampleEvery, 0, 1_000_000_000, true);
    check(
      'cache.missed',
      ['refuse', 'report', undefined].includes(cache.missed),
      `is ${JSON.stringify(cache.missed)}; want "refuse" or "report"`,
    );
    check(
      'cache.bus',
      cache.bus !== false || cache.process === false || cache.processes === 'one',
      'is false: what one process invalidates the others would keep; leave it out, or give `process: false`, or `processes: "one"` where there is never a second one',
    );
  }

  const known = (path: string, id: string, operation: unknown): void =>
    check(path, registry.operations.get(id) === operation, `no module of the plan implements ${id}`);
  const seen = new Set<string>();
  for (const [index, listed] of (http.routes ?? []).entries()) {
    const { path: pattern, operation, status, errors = {}, session } = listed;
    const path = `http.routes[${index}]`;
    check(
      path,
      pattern.startsWith('/') && !pattern.startsWith('/-/'),
      `the path ${JSON.stringify(pattern)} must start with "/" and not with "/-/", which is ours`,
    );
    const method = methodOf(listed);
    check(path, !seen.has(`${method} ${pattern}`), `${method} ${pattern} is listed twice`);
    seen.add(`${method} ${pattern}`);
    known(path, operation.id, operation);
    problems.push(...routeProblems(listed, path));
    if (session !== undefined)
      check(path, http.sessions !== undefined, `${session}s a session; set http.sessions in the plan`);
    number(`${path}.status`, status, 200, 299, true);
    const declared = operation.kind === 'command' ? Object.keys(operation.errors as object) : [];
    for (const [name, errorStatus] of Object.entries(errors)) {
      check(
        `${path}.errors`,
        declared.includes(name),
        `${operation.id} declares no error ${JSON.stringify(name)}`,
      );
      number(`${path}.errors.${name}`, errorStatus, 400, 599, true);
    }
  }

  for (const [index, { operation }] of (cache?.queries ?? []).entries()) {
    known(`cache.queries[${index}]`, operation.id, operation);
    const reads = plan.modules.find(({ name }) => name === operation.contract)?.reads;
    const views = reads?.[operation.id.slice(operation.contract.length + 1)] ?? [];
    check(
      `cache.queries[${index}]`,
      views.length === 0,
      `${operation.id} reads the view ${views.join(', ')}, which follows its events by a moment, so what is kept could be from before an invalidation; a view is a kept answer already`,
    );
  }

  const sound = (path: string, of: Objective): void => {
    number(`${path}.p95Ms`, of.p95Ms ?? null, 0.1, 3_600_000, false);
    number(`${path}.errorRate`, of.errorRate ?? null, 0, 1, false);
  };
  sound('objectives.default', plan.objectives.default);
  for (const [index, of] of (plan.objectives.operations ?? []).entries()) {
    sound(`objectives.operations[${index}]`, of);
    known(`objectives.operations[${index}]`, of.operation.id, of.operation);
  }
  return problems;
}

function registryOf(plan: PlanOptions, problems: Problem[]): Registry | undefined {
  try {
    return createRegistry(plan.modules);
  } catch (error) {
    if (!isPlimsollError(error, 'PL_CONFIG')) throw error;
    problems.push(...(error.data['problems'] as Problem[]));
    return undefined;
  }
}
