/** A worker of one subject in a process of its own: tells when each job begins, on the monotonic clock of the machine. */
import { subjects } from './subjects.ts';
import type { Servers } from './subject.ts';

const [name = '', servers = '{}'] = process.argv.slice(2);
const subject = subjects.find((each) => each.name === name);
if (subject === undefined) throw new Error(`there is no subject ${JSON.stringify(name)}`);
const queue = await subject.open(JSON.parse(servers) as Servers);
await queue.work('nothing', (n) => {
  process.send?.({ n, atMs: Number(process.hrtime.bigint()) / 1e6 });
  // To be cut off while it is under way.
  return n < 0 ? new Promise(() => undefined) : undefined;
});
process.send?.({ ready: true });
process.once('disconnect', () => process.exit());
