/** A million jobs of one subject that wait, in a process of its own: what they take, and how soon the first one begins. */
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import type { Taken } from './enqueue.ts';
import type { Servers } from './subject.ts';
import { subjects } from './subjects.ts';

const jobs = 1_000_000;
const bulk = 1_000;
/** Of what was written by then the rest is told. */
const mostMs = 90_000;
const workMs = 3_000;
const megabyte = 2 ** 20;

const [name = '', given = '{}'] = process.argv.slice(2);
const servers = JSON.parse(given) as Servers;
const subject = subjects.find((each) => each.name === name);
if (subject === undefined) throw new Error(`there is no subject ${JSON.stringify(name)}`);

const taken: Taken[] = [];
const take = (metric: string, unit: string, value: number): void => {
  taken.push({ case: 'a backlog of a million', metric, unit, value });
};
const rssMb = (): number => process.memoryUsage.rss() / megabyte;

const queue = await subject.open(servers);
// So that what is loaded and compiled on the way does not count.
await queue.addMany(Array.from({ length: bulk }, (_, n) => n));
const before = rssMb();
const beganMs = performance.now();
let written = bulk;
let half = before;
for (; written < jobs && performance.now() - beganMs < mostMs; written += bulk) {
  if (written === jobs / 2) half = rssMb();
  await queue.addMany(Array.from({ length: bulk }, (_, at) => written + at));
}
take('enqueued', 'jobs', written);
take('memory, before', 'MB', before);
take('memory, half enqueued', 'MB', half);
take('memory, enqueued', 'MB', rssMb());

const client = new pg.Client({ connectionString: servers.databaseUrl });
await client.connect();
const { rows } = await client.query<{ readonly tables: number; readonly indexes: number }>(`
  select sum(pg_table_size(oid))::float8 as tables, sum(pg_indexes_size(oid))::float8 as indexes
  from pg_class where relkind = 'r' and relname <> 'effect'
    and relnamespace::regnamespace::text !~ '^(pg_|information_schema)'`);
await client.end();
take('tables', 'MB', (rows[0]?.tables ?? Number.NaN) / megabyte);
take('indexes', 'MB', (rows[0]?.indexes ?? Number.NaN) / megabyte);

const first = Promise.withResolvers<void>();
let begun = 0;
const workedMs = performance.now();
const stop = await queue.work('nothing', () => {
  begun += 1;
  first.resolve();
});
await Promise.race([first.promise, pause(mostMs)]);
take('first one begun', 'ms', performance.now() - workedMs);
await pause(workMs);
take('memory, at work', 'MB', rssMb());
take('begun from then on', 'jobs/s', begun / (workMs / 1_000));
process.send?.(taken);
await stop();
await queue.close();
process.exit();
