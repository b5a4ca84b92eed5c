import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { rowOf, type Row } from '../report.ts';
import { peers, type Peer } from './peers.ts';

const run = promisify(execFile);
const wait = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));
const one = (of: { case: string; subject: string; metric: string; unit: string }, value: number): Row =>
  rowOf(of, [value]);

/** A thousand callers of one key at once; the loader answers, or fails, after 20 ms. */
async function stampede(peer: Peer, fails: boolean): Promise<readonly Row[]> {
  let calls = 0;
  const kept = peer.open(async () => {
    calls += 1;
    await wait(20);
    if (fails) throw new Error('down');
    return { n: 1 };
  });
  const began = performance.now();
  // One that runs its callers one after the other does not end in a time to wait for.
  const all = Promise.allSettled(Array.from({ length: 1_000 }, () => kept.getOrSet('hot')));
  await Promise.race([all, wait(5_000)]);
  const tookMs = performance.now() - began;
  const of = { case: fails ? 'stampede, the loader fails' : 'stampede', subject: peer.name };
  const seen = calls;
  return [
    one({ ...of, metric: 'loader calls for 1,000 callers', unit: '' }, seen),
    one({ ...of, metric: 'until all had an answer, 5,000 at most', unit: 'ms' }, tookMs),
  ];
}

/** The value changes, and is invalidated, while the former one is being loaded. */
async function invalidateDuringFill(peer: Peer, by: 'key' | 'tag'): Promise<readonly Row[]> {
  if (by === 'tag' && !peer.tags) return [];
  let truth = 'old';
  let stale = 0;
  const rounds = 20;
  const kept = peer.open(
    async () => {
      const read = truth;
      await wait(10);
      return read;
    },
    (key) => [`tag:${key}`],
  );
  for (let n = 0; n < rounds; n += 1) {
    truth = 'old';
    const key = `${by}:${n}`;
    const filling = kept.getOrSet(key);
    await wait(3);
    truth = 'new';
    await (by === 'key' ? kept.invalidateKey(key) : kept.invalidateTag?.(`tag:${key}`));
    // lru-cache aborts what it was filling.
    await filling.catch(() => undefined);
    await wait(3);
    if ((await kept.getOrSet(key)) !== 'new') stale += 1;
  }
  const of = { case: `invalidated by ${by} during a fill`, subject: peer.name };
  return [one({ ...of, metric: `stale afterwards, of ${rounds}`, unit: '' }, stale)];
}

/** 100,000 keys that share a tag: the call, and then the first reads, which do what it left. */
async function invalidateManyKeys(peer: Peer, count: number): Promise<readonly Row[]> {
  if (!peer.tags) return [];
  const kept = peer.open(
    async (key) => ({ key }),
    (key) => ['all', `only:${key}`],
  );
  const keys = Array.from({ length: count }, (_, n) => `k${n}`);
  for (const key of keys) await kept.getOrSet(key);
  const began = performance.now();
  await kept.invalidateTag?.('all');
  const tookMs = performance.now() - began;
  const readBegan = performance.now();
  for (const key of keys.slice(0, 1_000)) await kept.getOrSet(key);
  const readUs = performance.now() - readBegan;
  const of = { case: `a tag of ${count.toLocaleString('en')} keys is invalidated`, subject: peer.name };
  return [
    one({ ...of, metric: 'the call', unit: 'ms' }, tookMs),
    one({ ...of, metric: 'each of the first 1,000 reads, load included', unit: 'us' }, readUs),
  ];
}

/** Heap for each of 50,000 entries, less the keys and values, which are there before; in a process of its own. */
async function bytesPerEntry(peer: Peer): Promise<readonly Row[]> {
  const script = path.join(import.meta.dirname, 'memory.ts');
  const { stdout } = await run(process.execPath, [...process.execArgv, '--expose-gc', script, peer.name], {
    timeout: 60_000,
  });
  const { bytes } = JSON.parse(stdout) as { bytes: number };
  return [one({ case: 'memory', subject: peer.name, metric: 'per entry', unit: 'B' }, bytes)];
}

export async function tables(say: (line: string) => void): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const peer of peers) {
    say(`bench: tables: ${peer.name}`);
    rows.push(...(await bytesPerEntry(peer)));
    rows.push(...(await stampede(peer, false)), ...(await stampede(peer, true)));
    rows.push(...(await invalidateDuringFill(peer, 'key')), ...(await invalidateDuringFill(peer, 'tag')));
    // Of the eager ones the cost grows with the square; a tenth shows it without three minutes of waiting.
    rows.push(...(await invalidateManyKeys(peer, peer.name === 'async-cache-dedupe' ? 10_000 : 100_000)));
  }
  return rows.toSorted((a, b) => a.case.localeCompare(b.case) || a.metric.localeCompare(b.metric));
}
