/** `node --expose-gc bench/cache/memory.ts <peer>`: bytes for each of 50,000 entries, in a process of its own. */
import { peers } from './peers.ts';

const count = 50_000;
const peer = peers.find(({ name }) => name === process.argv[2]);
if (peer === undefined || gc === undefined) throw new Error('want a peer, and --expose-gc');
const values = new Map(Array.from({ length: count }, (_, n) => [`key:${n}`, { n }]));
// What it makes for itself at its start is not of the entries.
const kept = peer.open(async (key) => values.get(key));
for (let n = 0; n < 5_000; n += 1) await kept.getOrSet('key:0');
gc();
const before = process.memoryUsage();
for (const key of values.keys()) await kept.getOrSet(key);
// Loads that have just ended hold theirs for a moment.
await new Promise((resolve) => void setTimeout(resolve, 50));
gc();
const after = process.memoryUsage();
if (((await kept.getOrSet('key:1')) as { n: number }).n !== 1) throw new Error(`${peer.name} lost a key`);
const bytes = after.heapUsed - before.heapUsed + after.arrayBuffers - before.arrayBuffers;
console.log(JSON.stringify({ bytes: bytes / count }));
process.exit(0);
