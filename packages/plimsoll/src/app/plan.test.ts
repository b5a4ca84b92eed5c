import { expect, test } from 'vitest';
import { z } from 'zod';
import { route } from '../gateway/route.ts';
import { PlimsollError, type Problem } from '../kernel/errors.ts';
import { command, contract, event, query } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { policyFor } from '../modules/module-policies.ts';
import type { PlanOptions } from './plan-options.ts';
import { objective, plan } from './plan.ts';

const a = contract('a', {
  run: command({ input: z.object({}), errors: { No: z.object({}) } }),
  see: query({ input: z.object({}), output: z.object({}) }),
  done: event({ payload: z.object({}) }),
});
const missing = contract('missing', { see: query({ input: z.object({}), output: z.object({}) }) });
const aModule = module(a, {
  owns: { schema: 'a' },
  commands: { run: async () => undefined },
  queries: { see: async () => ({}) },
});
const sound: PlanOptions = {
  name: 'sound',
  modules: [aModule],
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 1, errorRate: 0 } },
};

function problemsOf(options: unknown): readonly Problem[] {
  try {
    plan(options as PlanOptions);
    return [];
  } catch (error) {
    expect(error).toMatchObject({ code: 'PL_CONFIG' });
    return (error as PlimsollError).data['problems'] as Problem[];
  }
}

test('a sound plan has its defaults', () => {
  expect(plan(sound).http).toEqual({ host: '127.0.0.1', port: 3000, routes: [] });
});

test('every problem is reported at once, with its place', () => {
  const problems = problemsOf({
    ...sound,
    name: 'Not Sound',
    http: {
      port: 70_000,
      maxInFlight: 0,
      routes: [
        route('no-slash', a.run, { status: 500, errors: { Maybe: 404 } }),
        route('/x', missing.see),
        route('/y', a.see),
        route('/y', a.see),
        route('/-/mine', a.see),
      ],
    },
    database: { url: 'mysql://secret@host', pool: { max: 1.5 }, routing: { waitMs: -1 } },
    worker: { concurrency: -1 },
    expectedPeak: { requestsPerSecond: '100' },
    objectives: {
      default: { p95Ms: 0, errorRate: 2 },
      operations: [objective(missing.see, { p95Ms: 1, errorRate: 0 })],
    },
  });
  expect(problems.map(({ path }) => path)).toEqual([
    'name',
    'expectedPeak.requestsPerSecond',
    'http.port',
    'http.maxInFlight',
    'database.pool.max',
    'database.routing.waitMs',
    'database.url',
    'worker.concurrency',
    'http.routes[0]',
    'http.routes[0].status',
    'http.routes[0].errors',
    'http.routes[1]',
    'http.routes[3]',
    'http.routes[4]',
    'objectives.default.p95Ms',
    'objectives.default.errorRate',
    'objectives.operations[0]',
  ]);
  expect(JSON.stringify(problems)).not.toContain('secret');
});

test('a set of modules that does not fit together is reported whole', () => {
  const b = contract('b', { see: query({ input: z.object({}), output: z.object({}) }) });
  const bModule = module(b, { owns: { schema: 'a' }, uses: [missing], queries: { see: async () => ({}) } });
  const unfinished = { ...aModule, name: 'a', commands: {} };
  expect(problemsOf({ ...sound, modules: [unfinished, bModule] }).map(({ path }) => path)).toEqual([
    'modules.a.run',
    'modules.b.owns.schema',
    'modules.b.uses',
  ]);
  expect(problemsOf({ ...sound, modules: [] })).toMatchObject([{ path: 'modules' }]);
});

test('policies that cannot be are reported with their place', () => {
  const problems = problemsOf({
    ...sound,
    policies: {
      modules: { bulkhead: { max: 0 } },
      overrides: [
        policyFor(a, { breaker: { failureRatio: 2 }, retry: { attempts: 0 } }),
        policyFor(missing, {}),
      ],
    },
  });
  expect(problems.map(({ path }) => path)).toEqual([
    'policies.modules.bulkhead.max',
    'policies.overrides[0].retry.attempts',
    'policies.overrides[0].breaker.failureRatio',
    'policies.overrides[1]',
  ]);
});

test('a contract with impossible names is refused', () => {
  expect(() => contract('Bad-Name', { 'x y': event({ payload: z.object({}) }) })).toThrow(/2 problems/);
});

test('what HTTP cannot do is reported with its place', () => {
  const problems = problemsOf({
    ...sound,
    http: {
      answerTimeoutMs: 0,
      maxHeaders: 0,
      cors: { origins: ['*', 'shop.example'], credentials: true },
      sessions: { secret: 'hunter2', ttlMs: 1, cookieName: 'a b' },
      trustProxy: ['10.0.0.0/8', '::1', 'everyone', '10.0.0.0/33', '10.0.0.0/', '::/129'],
      routes: [
        route('/a', a.see, { enqueue: true }),
        route('/b', a.run, { enqueue: true, status: 201, errors: { No: 409 } }),
        route('/c', a.see, { session: 'begin' }),
        route('/d', a.run, { enqueue: true, session: 'end' }),
      ],
    },
  });
  expect(problems.map(({ path }) => path)).toEqual([
    'http.answerTimeoutMs',
    'http.maxHeaders',
    'http.cors.origins[1]',
    'http.cors.credentials',
    'http.sessions.secret',
    'http.sessions.ttlMs',
    'http.sessions.cookieName',
    'http.trustProxy[2]',
    'http.trustProxy[3]',
    'http.trustProxy[4]',
    'http.trustProxy[5]',
    'http.routes[0]',
    'http.routes[1].status',
    'http.routes[1].errors',
    'http.routes[2]',
    'http.routes[3]',
  ]);
  expect(JSON.stringify(problems)).not.toContain('hunter2');
  expect(problemsOf({ ...sound, http: { routes: [route('/d', a.run, { session: 'end' })] } })).toMatchObject([
    { path: 'http.routes[0]', message: expect.stringContaining('http.sessions') as string },
  ]);
});

test('boundaries are what the options know', () => {
  expect(problemsOf({ ...sound, boundaries: { statements: 'report', roles: true } })).toEqual([]);
  const problems = problemsOf({ ...sound, boundaries: { statements: 'warn', roles: 'yes' } });
  expect(problems.map(({ path, message }) => `${path} ${message}`)).toEqual([
    'boundaries.statements is "warn"; want "refuse", "report" or "off"',
    'boundaries.roles is "yes"; want true or false',
  ]);
});
