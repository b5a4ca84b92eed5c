import { createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { Monitor, within } from './monitor.ts';
import { openMonitor } from './open-monitor.ts';

test('a server that takes the connection and says nothing fails the question, and closing does not hang', async () => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const monitor = new Monitor(openMonitor(`postgres://x@127.0.0.1:${port}/x`, 'test'), 50);
  await expect(monitor.ask('select 1')).rejects.toThrow(/timeout expired/);
  await monitor.close();
  await expect(monitor.ask('select 1')).rejects.toThrow('the monitor was closed');
  for (const socket of sockets) socket.destroy();
  server.close();
});

test('an answer that is there when a stalled process comes back counts', async () => {
  // It is read in the turn of the event loop whose timers come first.
  const answer = new Promise((resolve) => {
    setTimeout(() => setImmediate(resolve, 'read'), 1);
  });
  const asking = within(2, answer);
  const until = performance.now() + 10;
  while (performance.now() < until);
  expect(await asking).toBe('read');
  await expect(within(1, new Promise(() => undefined))).rejects.toThrow(/timeout expired/);
});
