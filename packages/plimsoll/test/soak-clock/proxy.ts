import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** Between processes and a server, which may be another one from now on, far away or gone. */
export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** From now on to this port; connections that are there are cut. */
  pointTo(port: number): void;
  cut(): void;
  /** Each way, from now on. */
  delayMs: number;
}

export async function startProxy(target: number): Promise<Proxy> {
  let port = target;
  const sockets = new Set<Socket>();
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      // One after the other: what comes later does not overtake what waits.
      let last = Promise.resolve();
      let waiting = 0;
      from.on('data', (chunk) => {
        if (proxy.delayMs === 0 && waiting === 0) {
          to.write(chunk);
          return;
        }
        waiting += 1;
        const dueMs = performance.now() + proxy.delayMs;
        last = last
          .then(() => delay(Math.max(0, dueMs - performance.now())))
          .then(() => {
            waiting -= 1;
            if (!to.destroyed) to.write(chunk);
          });
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy: Proxy = {
    port: (server.address() as AddressInfo).port,
    delayMs: 0,
    cut,
    pointTo(given) {
      port = given;
      cut();
    },
    async [Symbol.asyncDispose]() {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}

export function throughPort(url: string, port: number): string {
  const changed = new URL(url);
  changed.port = String(port);
  return changed.href;
}
