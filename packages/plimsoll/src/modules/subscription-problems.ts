import type { Problem } from '../kernel/errors.ts';
import type { Subscription } from './module.ts';

/** What is wrong with the options of a subscription. */
export function subscriptionProblems({ event, options }: Subscription, path: string): Problem[] {
  const { ordered, onPark, from, maxAttempts } = options;
  const problems: Problem[] = [];
  const check = (ok: boolean, message: string): void => {
    if (!ok) problems.push({ path, message });
  };
  const given = (value: unknown): string => JSON.stringify(value);
  check(
    maxAttempts === undefined || (Number.isInteger(maxAttempts) && maxAttempts > 0),
    `maxAttempts is ${given(maxAttempts)}; want a whole number from 1`,
  );
  check(
    ordered === undefined || ordered === 'key',
    `ordered is ${given(ordered)}; want "key", or leave it out`,
  );
  check(
    ordered === undefined || event.key !== undefined,
    `is ordered by key, but ${event.id} has none; give the event \`key: (payload) => …\` in its contract`,
  );
  check(
    onPark === undefined || (ordered !== undefined && ['block', 'skip'].includes(onPark)),
    `onPark is ${given(onPark)}; want "block" or "skip", together with ordered: "key"`,
  );
  check(from === undefined || isStart(from), `from is ${given(from)}; ${wantedStart}`);
  return problems;
}

const wantedStart =
  'want "now", "beginning", { position: <whole number from 1> } or { time: <Date or ISO 8601> }';

function isStart(from: NonNullable<Subscription['options']['from']>): boolean {
  if (typeof from === 'string') return ['now', 'beginning'].includes(from);
  if ('position' in from) return Number.isInteger(from.position) && from.position > 0;
  return !Number.isNaN(new Date(from.time).getTime());
}
