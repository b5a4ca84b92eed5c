/** `fork`ed: one process with the cache of a peer; does what its parent says, and ends with it. */
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import { sharedPeers } from './peers.ts';

export type Ask =
  /** So many callers of a key at once; the loader takes so long, and answers with what was given or fails. */
  | { do: 'load'; key: string; callers: number; tookMs: number; value: string; fails?: boolean }
  | { do: 'invalidate'; key: string; by: 'key' | 'tag' }
  /** Until what is kept in this process is gone, or for so long. */
  | { do: 'watch'; key: string; forMs: number }
  | { do: 'kept'; key: string };

export interface Told {
  calls?: number;
  values?: readonly string[];
  beganMs?: number;
  resolvedMs?: number;
  goneMs?: number;
  kept?: boolean;
}

const [name, port] = process.argv.slice(2);
const peer = sharedPeers.find((each) => each.name === name);
if (peer === undefined) throw new Error(`no peer ${name}`);
const cache = await peer.open(Number(port));
/** The same for all processes of a machine. */
const nowMs = (): number => performance.timeOrigin + performance.now();

async function answer(ask: Ask): Promise<Told> {
  if (ask.do === 'load') {
    let calls = 0;
    const load = async (): Promise<string> => {
      calls += 1;
      await delay(ask.tookMs);
      if (ask.fails === true) throw new Error('down');
      return ask.value;
    };
    const all = Array.from({ length: ask.callers }, () => cache.getOrSet(ask.key, load));
    // One that runs its callers one after the other does not end in a time to wait for.
    const settled = await Promise.race([Promise.allSettled(all), delay(8_000, [])]);
    const values = settled.map((each) => (each.status === 'fulfilled' ? String(each.value) : 'failed'));
    return { calls, values: [...new Set(values)] };
  }
  if (ask.do === 'invalidate') {
    const beganMs = nowMs();
    await (ask.by === 'key' ? cache.invalidateKey(ask.key) : cache.invalidateTag?.('all'));
    return { beganMs, resolvedMs: nowMs() };
  }
  if (ask.do === 'kept') return { kept: (await cache.get(ask.key)) !== undefined };
  const untilMs = nowMs() + ask.forMs;
  while (nowMs() < untilMs) {
    if ((await cache.get(ask.key)) === undefined) return { goneMs: nowMs() };
    await turn();
  }
  return {};
}

process.on('disconnect', () => process.exit(0));
process.on('message', (message) => {
  const { number, ask } = message as { number: number; ask: Ask };
  answer(ask).then(
    (told) => process.send?.({ number, told }),
    (error: unknown) => process.send?.({ number, told: {}, error: String(error) }),
  );
});
process.send?.({ number: 0, told: {} });
