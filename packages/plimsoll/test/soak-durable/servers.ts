import { startCluster, type Replica } from '@plimsoll/embedded';
import { askAt } from './ask.ts';
import { startProxy, throughPort, type Proxy } from '../soak-clock/proxy.ts';

/** A primary whose commits are on a standby before they are answered, so that a promotion loses none of them. */
export interface Servers {
  readonly primary: () => Replica;
  readonly proxy: Proxy;
  /** Through the proxy, whichever server is the primary. */
  readonly url: string;
  /** Asks the primary on a connection of its own. */
  readonly ask: <T>(text: string, values?: readonly unknown[]) => Promise<T[]>;
  /** The standby takes over from a primary that is killed; what was the primary becomes the standby. */
  failOver(): Promise<void>;
}

export async function startServers(stack: AsyncDisposableStack): Promise<Servers> {
  const cluster = stack.use(await startCluster({ replicas: 2 }));
  const [first, second] = cluster.replicas;
  if (first === undefined || second === undefined) throw new Error('there are no replicas');
  // Each of the two can be a standby again; the one they came from cannot.
  await first.caughtUp();
  await first.promote();
  await cluster.primary.kill();
  await second.reseed(first);
  let [primary, standby] = [first, second];
  const proxy = stack.use(await startProxy(primary.port));

  const ask: Servers['ask'] = (text, values) => askAt(primary.url, text, values);

  async function waitForStandby(): Promise<void> {
    await standby.caughtUp({ timeoutMs: 30_000 });
    await ask(`alter system set synchronous_standby_names = '${standby.name.replace('-', '_')}'`);
    await ask('select pg_reload_conf()');
  }
  await waitForStandby();

  return {
    primary: () => primary,
    proxy,
    url: throughPort(first.url, proxy.port),
    ask,
    async failOver() {
      const [old, next] = [primary, standby];
      await old.kill();
      await next.promote();
      [primary, standby] = [next, old];
      // It came over with the log of the other one, and nobody of that name is there yet.
      await ask('alter system reset synchronous_standby_names');
      await ask('select pg_reload_conf()');
      proxy.pointTo(next.port);
      await old.reseed(next);
      await waitForStandby();
    },
  };
}
