import { LRUCache } from 'lru-cache';
import { cachePolicy, createCache } from 'plimsoll/cache';
import type { Opening, Subject } from '../resilience/compare.ts';
import { hourMs, peers, type Kept, type Peer } from './peers.ts';

const count = 10_000;
const keys = Array.from({ length: count }, (_, n) => `product:${n}`);
/** The same for all subjects. */
const order = Array.from({ length: 2 ** 16 }, () => keys[Math.floor(Math.random() * count)] as string);
const keyAt = (at: number): string => order[at & (2 ** 16 - 1)] as string;
const value = (key: string): object => ({ key, price: 12.5 });
const threeTags = (key: string): string[] => [key, `category:${key.length}`, 'products'];

async function filled(peer: Peer, tagsOf?: (key: string) => string[]): Promise<Kept> {
  const kept = peer.open(async (key) => value(key), tagsOf);
  for (const key of keys) await kept.getOrSet(key);
  return kept;
}

async function provedBy(read: (key: string) => unknown): Promise<void> {
  for (const key of keys.slice(0, 100)) {
    const got = (await read(key)) as { key?: string } | undefined;
    if (got?.key !== key) throw new Error(`${key} is not kept: ${JSON.stringify(got)}`);
  }
}

/** Awaits what is a promise, as its users have to; what is not is not awaited. */
function subjectOf(
  name: string,
  setting: string,
  isPromise: boolean,
  read: (key: string) => unknown,
): Subject {
  return {
    name,
    setting,
    prove: () => provedBy(read),
    async run(operations) {
      let found = 0;
      if (isPromise)
        for (let n = 0; n < operations; n += 1) found += (await read(keyAt(n))) === undefined ? 0 : 1;
      else for (let n = 0; n < operations; n += 1) found += read(keyAt(n)) === undefined ? 0 : 1;
      if (found !== operations) throw new Error(`${name}: ${operations - found} were not kept`);
    },
  };
}

const syncReads = new Set(['layered-loader', 'lru-cache']);

async function peeking(
  tags: [string, ...string[]] | ((key: string) => [string, ...string[]]),
): Promise<Subject> {
  const cache = createCache({ name: 'peek', freeze: false, process: { maxEntries: 2 * count } });
  const policy = cachePolicy({ ttlMs: hourMs, tags });
  for (const key of keys) await cache.get(key, policy, () => value(key));
  return subjectOf('plimsoll peek', 'the same without a promise', false, (key) => cache.peek(key));
}

export const getHit: Opening = async () => {
  const map = new Map(keys.map((key) => [key, value(key)]));
  const awaited = async (key: string): Promise<unknown> => map.get(key);
  const subjects = [
    subjectOf('Map', 'get, no time, no bound', false, (key) => map.get(key)),
    subjectOf('Map behind async', 'the least that an API of promises can cost', true, awaited),
    await peeking(['all']),
  ];
  for (const peer of peers) {
    const kept = await filled(peer);
    subjects.push(subjectOf(peer.name, peer.setting, !syncReads.has(peer.name), (key) => kept.get(key)));
  }
  return { name: 'hit, get', baseline: 'lru-cache', burstMs: 60, subjects };
};

export const taggedHit: Opening = async () => {
  const lru = new LRUCache<string, object>({ max: 2 * count, ttl: hourMs });
  for (const key of keys) lru.set(key, value(key));
  const subjects = [
    subjectOf('lru-cache', 'with ttl, no tags', false, (key) => lru.get(key)),
    await peeking((key) => threeTags(key) as [string, ...string[]]),
  ];
  for (const peer of peers.filter(({ tags }) => tags)) {
    const kept = await filled(peer, threeTags);
    // What it does on a hit when it compares the tags.
    subjects.push(subjectOf(peer.name, peer.setting, true, (key) => kept.getOrSet(key)));
  }
  return { name: 'getOrSet on a hit, three tags', baseline: 'plimsoll', burstMs: 60, subjects };
};

export const getOrSetHit: Opening = async () => {
  const subjects: Subject[] = [];
  for (const peer of peers) {
    const kept = await filled(peer);
    subjects.push(subjectOf(peer.name, peer.setting, true, (key) => kept.getOrSet(key)));
  }
  return { name: 'getOrSet on a hit', baseline: 'plimsoll', burstMs: 60, subjects };
};
