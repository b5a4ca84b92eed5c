import type { ServerResponse } from 'node:http';
import { performance } from 'node:perf_hooks';
import { describe, expect, it, vi } from 'vitest';
import { findHeadroom } from './find-headroom.ts';
import { listen, type Handler, type Target } from './fixtures/target.ts';
import { createClient } from './http-client.ts';
import { clientTimeoutMs } from './objectives.ts';
import type { Objectives } from './objectives.ts';
import type { LoadOptions } from './options.ts';
import { seededRandom } from './random.ts';
import { reportStep } from './report.ts';
import type { StepReport } from './report.ts';
import { runStep } from './run-step.ts';
import type { StepInput } from './run-step.ts';
import { scheduleStep } from './scenario.ts';
import type { Scenario } from './scenario.ts';

const ok: Handler = (response) => void response.end('{"ok":true}');

const scenario: Scenario = {
  name: 'two operations',
  requestsPerSession: 2,
  session: (index) => [
    { operation: 'list', method: 'GET', path: '/list', afterMs: 0 },
    { operation: 'place', method: 'POST', path: '/orders', body: JSON.stringify({ index }), afterMs: 20 },
  ],
};

const objectives: Objectives = { default: { p95Ms: 200, errorRate: 0.01 }, byOperation: {} };

async function step(
  target: Target,
  rateRps: number,
  measuredMs: number,
  more: Partial<StepInput> & { readonly given?: Scenario; readonly connections?: number } = {},
): Promise<StepReport> {
  const given = more.objectives ?? objectives;
  const client = createClient(target.origin, { maxConnections: 200, connectTimeoutMs: 2_000 });
  client.limitConnections(more.connections ?? 200);
  const plan = { rateRps, leadInMs: 0, measuredMs };
  const { requests } = scheduleStep({
    scenario: more.given ?? scenario,
    ...plan,
    firstSession: 0,
    random: seededRandom(1),
  });
  try {
    const measurement = await runStep({
      client,
      objectives: given,
      ...plan,
      requests,
      mayStopEarly: true,
      maxInFlight: 5_000,
      longestDrainMs: 5_000,
      sample: () => Promise.resolve(undefined),
      onWatch: () => {},
      signal: new AbortController().signal,
      ...more,
    });
    return reportStep(measurement, { purpose: 'peak', ...plan, objectives: given });
  } finally {
    await client.destroy();
  }
}

function expectAllAccounted(report: StepReport): void {
  expect(report.sent + report.refused + report.cut).toBe(report.planned);
  expect(report.overall.count).toBe(report.sent + report.refused);
  expect(report.overall.ok + report.overall.errors).toBe(report.overall.count);
  const kinds = Object.values(report.overall.errorKinds).reduce((sum, count) => sum + count, 0);
  expect(kinds).toBe(report.overall.errors);
  const byOperation = Object.values(report.operations).reduce((sum, { count }) => sum + count, 0);
  expect(byOperation).toBe(report.overall.count);
}

describe.concurrent('a step against a real target', () => {
  it('sends every planned request and reads every answer', async () => {
    await using target = await listen(ok);
    const report = await step(target, 300, 1_000);
    expectAllAccounted(report);
    expect(report).toMatchObject({ cut: 0, refused: 0, recovered: true });
    expect(target.requests).toBe(report.sent);
    expect(report.overall.ok).toBe(report.planned);
    expect(Object.keys(report.operations)).toEqual(['list', 'place']);
  });

  it('goes on sending to a frozen server and counts its stall from the intended starts', async () => {
    const held: { readonly answer: () => void; readonly arrivedMs: number }[] = [];
    const waitsMs: number[] = [];
    let freezeUntilMs = Infinity;
    let seen = 0;
    await using target = await listen((response) => {
      seen += 1;
      if (seen === 100) {
        freezeUntilMs = performance.now() + 1_000;
        setTimeout(() => {
          for (const { answer, arrivedMs } of held) {
            waitsMs.push(performance.now() - arrivedMs);
            answer();
          }
        }, 1_000);
      }
      if (seen < 100 || performance.now() >= freezeUntilMs || waitsMs.length > 0)
        return ok(response, response.req);
      held.push({ answer: () => response.end(), arrivedMs: performance.now() });
    });
    const patient = { default: { p95Ms: 5_000, errorRate: 0 }, byOperation: {} };
    const report = await step(target, 200, 2_500, { objectives: patient });
    expectAllAccounted(report);
    expect(report.overall.ok).toBe(report.planned);
    // The server itself saw the arrivals of the frozen second: nobody waited for answers to send them.
    expect(waitsMs.length).toBeGreaterThan(100);
    waitsMs.sort((a, b) => b - a);
    const onePercent = Math.ceil(report.planned / 100);
    expect(report.overall.latency.p99Ms).toBeGreaterThanOrEqual((waitsMs[onePercent] ?? 0) * 0.999);
    expect(report.overall.latency.maxMs).toBeGreaterThanOrEqual((waitsMs[0] ?? 0) * 0.999);
  });

  it('fails a hanging server early, as timeouts, and waits for it no longer than allowed', async () => {
    await using target = await listen(() => {});
    const report = await step(target, 100, 4_000, { longestDrainMs: 100 });
    expectAllAccounted(report);
    expect(report.overall.ok).toBe(0);
    expect(report.overall.errorKinds).toEqual({ timeout: report.sent });
    expect(report.verdict.reasons.map(({ kind }) => kind)).toContain('bad-share');
    expect(report.cut).toBeGreaterThan(0);
    expect(report.recovered).toBe(false);
  });

  it('ends each unanswered request at the client timeout', async () => {
    await using target = await listen(() => {});
    const report = await step(target, 60, 1_000);
    expectAllAccounted(report);
    expect(report.recovered).toBe(true);
    expect(report.overall.errorKinds).toEqual({ timeout: report.planned });
    expect(report.overall.latency.p50Ms).toBeGreaterThanOrEqual(clientTimeoutMs(objectives));
  });

  it('refuses beyond the bound in flight, and counts what it refused', async () => {
    await using target = await listen(() => {});
    const report = await step(target, 200, 1_000, { mayStopEarly: true, maxInFlight: 50, longestDrainMs: 0 });
    expectAllAccounted(report);
    expect(report.sent).toBe(50);
    expect(report.overall.errorKinds).toEqual({ timeout: 50, refused: report.planned - 50 });
    expect(report.verdict.reasons.map(({ kind }) => kind)).toContain('not-sent');
  });

  it('opens no more connections than allowed, and counts the wait for one', async () => {
    await using target = await listen((response) => void setTimeout(() => response.end(), 20));
    let seen = 0;
    const report = await step(target, 300, 1_000, {
      connections: 3,
      onWatch: () => (seen = target.connections),
    });
    expectAllAccounted(report);
    expect(seen).toBeGreaterThan(0);
    expect(seen).toBeLessThanOrEqual(3);
    // 3 connections of 20 ms carry half of the 300 requests a second.
    expect(report.overall.ok).toBe(report.planned);
    expect(report.verdict.reasons.map(({ kind }) => kind)).toContain('p95');
  });

  it('fails error answers by operation, and takes a status that is a right answer', async () => {
    await using target = await listen((response, request) => {
      response.statusCode = request.method === 'POST' ? 409 : 500;
      response.end('no');
    });
    const given: Scenario = {
      ...scenario,
      session: (index) =>
        scenario
          .session(index, Math.random)
          .map((request) => ({ ...request, accepts: request.method === 'POST' ? [409] : [] })),
    };
    const report = await step(target, 300, 1_000, { given });
    expectAllAccounted(report);
    expect(report.operations['place']?.errors).toBe(0);
    expect(report.operations['list']?.errorKinds).toEqual({ 'status 500': report.operations['list']?.count });
    expect(report.verdict.reasons).toMatchObject([
      { kind: 'errors', operation: 'list', measured: 1, limit: 0.01 },
    ]);
  });

  it('counts closed connections and answers cut off half way', async () => {
    let seen = 0;
    await using target = await listen((response) => {
      seen += 1;
      if (seen % 2 === 0) return void response.socket?.destroy();
      response.writeHead(200, { 'content-length': '100' });
      response.write('half');
      setImmediate(() => response.socket?.destroy());
    });
    const report = await step(target, 200, 500);
    expectAllAccounted(report);
    expect(report.overall.ok).toBe(0);
    expect(Object.keys(report.overall.errorKinds).every((kind) => kind.startsWith('connection '))).toBe(true);
  });
});

it('counts its own stall as latency and says that the generator was late', async () => {
  await using target = await listen(ok);
  const asleep = setTimeout(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400), 300);
  const report = await step(target, 300, 1_000);
  clearTimeout(asleep);
  expectAllAccounted(report);
  expect(report.generator.sendLagP99Ms).toBeGreaterThan(300);
  expect(report.overall.latency.p95Ms).toBeGreaterThan(200);
  expect(report.verdict.ok).toBe(false);
  expect(report.verdict.generatorFaults[0]).toContain('send lag');
});

describe('findHeadroom against a real target', () => {
  const optionsFor = (target: Target, more: Partial<LoadOptions> = {}): LoadOptions => ({
    target: target.origin,
    scenario,
    objectives,
    expectedPeakRps: 200,
    durationMs: 6_000,
    seed: 1,
    ...more,
  });

  it('brackets a server of few slots, and its report is plain JSON', { timeout: 30_000 }, async () => {
    let busy = 0;
    const waiting: (() => void)[] = [];
    const work = (response: ServerResponse): void => {
      busy += 1;
      setTimeout(() => {
        busy -= 1;
        response.end();
        waiting.shift()?.();
      }, 20);
    };
    // 16 slots of 20 ms: no more than 800 answers a second.
    await using target = await listen((response) => {
      if (busy < 16) work(response);
      else waiting.push(() => work(response));
    });
    let progress = 0;
    const report = await findHeadroom(optionsFor(target, { onProgress: () => (progress += 1) }));
    for (const each of report.steps) {
      expectAllAccounted(each);
      // A queue of one p95 objective is as far as a holding step can be ahead of the slots.
      if (each.verdict.ok) expect(each.completedRps).toBeLessThan(1_600);
    }
    expect(report.outcome).not.toBe('aborted');
    expect(report.steps.some((each) => !each.verdict.ok)).toBe(true);
    expect(report.headroom).toBe(report.heldRps / 200);
    if (report.heldRps > 0) {
      expect(report.steps.some((each) => each.rateRps === report.heldRps && each.verdict.ok)).toBe(true);
    }
    expect(progress).toBeGreaterThan(5);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(target.connections).toBe(0);
  });

  it('keeps to the cap and carries the resource samples of each step', { timeout: 30_000 }, async () => {
    await using target = await listen(ok);
    let atMs = 0;
    const sample = (): Promise<{ atMs: number; processCpuMs: number }> =>
      Promise.resolve({ atMs: (atMs += 1_000), processCpuMs: atMs / 2 });
    const report = await findHeadroom(optionsFor(target, { maxRps: 600, sample }));
    for (const each of report.steps) {
      expect(each.rateRps).toBeLessThanOrEqual(600);
      expect(each.resources.processCores).toBe(0.5);
    }
  });

  it('ends an abort with a report and every connection closed', async () => {
    await using target = await listen(() => {});
    const answering = await listen(ok);
    await using _answering = answering;
    const aborting = new AbortController();
    const report = await findHeadroom(
      optionsFor(answering, {
        signal: aborting.signal,
        onProgress: ({ phase }) => phase === 'measure' && aborting.abort(),
      }),
    );
    expect(report).toMatchObject({ outcome: 'aborted', heldRps: 0, steps: [] });
    await vi.waitFor(() => expect(answering.connections).toBe(0), { timeout: 5_000, interval: 5 });

    const before = AbortSignal.abort();
    expect(await findHeadroom(optionsFor(target, { signal: before }))).toMatchObject({ outcome: 'aborted' });
    expect(target.requests).toBe(0);
  });

  it('says what is wrong before any load', async () => {
    const gone = await listen(ok);
    await gone[Symbol.asyncDispose]();
    await expect(findHeadroom(optionsFor(gone))).rejects.toMatchObject({
      code: 'PL_LOAD_UNREACHABLE',
      message: expect.stringContaining(gone.origin),
    });
    await using broken = await listen((response, request) => {
      response.statusCode = request.method === 'POST' ? 500 : 200;
      response.end('relation "orders" does not exist');
    });
    await expect(findHeadroom(optionsFor(broken))).rejects.toMatchObject({
      code: 'PL_LOAD_PREFLIGHT',
      message: expect.stringMatching(/place: POST \/orders answered 500 relation "orders" does not exist/u),
    });
  });
});
