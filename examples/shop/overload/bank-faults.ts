import { holdRate, type HeldRate, type Scenario } from '@plimsoll/cli/load';
import { payments } from '../modules/payments/contract.ts';
import type { OutsideServers } from '../start-outside.ts';
import type { Record, Shop } from './record.ts';
import { withPayments } from './scenarios.ts';

interface BankFaults extends Pick<OutsideServers, 'setBank'> {
  readonly scenario: Scenario;
  readonly rateRps: number;
}

const modes = [
  { mode: 'slow', latencyMs: 100 },
  { mode: 'hanging' },
  { mode: 'flaky', errorRate: 0.5 },
  { mode: 'down' },
] as const;
/** Of the p95 of an operation beside itself: steps of a few seconds on a shared machine differ by as much. */
const noise = 2;
const noiseMs = 10;

/** The shop at a load that is easy, while its bank is slow, hangs, errs and is down: what does not ask it goes on. */
export async function bankFaults(
  record: Record,
  shop: Shop,
  { scenario, rateRps, setBank }: BankFaults,
): Promise<void> {
  const { target, objectives, seed, signal, stepMs } = shop;
  const mixed = withPayments(scenario, 1);
  async function step(what: string, measuredMs: number): Promise<HeldRate> {
    signal.throwIfAborted();
    const held = await holdRate({ target, scenario: mixed, objectives, seed, signal, rateRps, measuredMs });
    record.add('bank', what, held, objectives);
    return held;
  }

  const before = await step('ok', stepMs);
  for (const mode of modes) {
    await setBank(mode);
    const { operations } = await step(mode.mode, stepMs);
    await setBank({ mode: 'ok' });
    for (const [operation, counts] of Object.entries(operations)) {
      if (operation === payments.charge.id) continue;
      const usual = before.operations[operation];
      const seen = {
        errorKinds: counts.errorKinds,
        p95Ms: counts.latency.p95Ms,
        usualMs: usual?.latency.p95Ms,
      };
      record.expect(`bank ${mode.mode}: ${operation} has no errors`, counts.errors === 0, seen);
      if (usual === undefined || counts.count < 100) continue;
      const same = counts.latency.p95Ms <= noise * usual.latency.p95Ms + noiseMs;
      record.expect(`bank ${mode.mode}: ${operation} is as quick as before`, same, seen);
    }
    await step('back: 5 s', 5_000);
    const { operations: back } = await step('back', stepMs / 2);
    const paid = back[payments.charge.id];
    record.expect(
      `bank back from ${mode.mode}: payments are as before after 5 s`,
      (paid?.errors ?? 0) === 0,
      {
        errorKinds: paid?.errorKinds,
      },
    );
  }
}
