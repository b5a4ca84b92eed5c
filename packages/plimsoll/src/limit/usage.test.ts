import { expect, test } from 'vitest';
// #region usage
import { createLimit } from 'plimsoll/limit';

const bank = createLimit({ name: 'bank' });

async function charge(order: string): Promise<Response> {
  // Refused with PL_OVERLOADED, and never sent, when as many are under way as the bank can use.
  return await bank.run(({ signal }) => fetch(`https://bank.example/charge/${order}`, { signal }));
}
// #endregion

test('the limit guards a call', async () => {
  await expect(bank.run(async () => 'charged')).resolves.toBe('charged');
  expect(charge).toBeTypeOf('function');
});

test('permits guard what is not a promise', () => {
  const begun: string[] = [];
  const socket = { onMessage: (): void => undefined, onTimeout: (): void => undefined };
  // #region permit
  const permit = bank.tryAcquire();
  if (permit === undefined) return; // no room: do without
  socket.onMessage = () => permit.succeed();
  socket.onTimeout = () => permit.drop();
  // #endregion
  begun.push('sent');
  expect(bank.inFlight).toBe(1);
  socket.onTimeout();
  socket.onMessage();
  expect(bank.inFlight).toBe(0);
  expect(begun).toEqual(['sent']);
});

test('the state is plain', () => {
  // #region state
  const { limit, inFlight, reason, recentRttMs, baselineRttMs } = bank.state();
  // #endregion
  expect({ limit, inFlight, reason }).toEqual({ limit: 20, inFlight: 0, reason: 'initial' });
  expect([recentRttMs, baselineRttMs]).toEqual([undefined, undefined]);
});
