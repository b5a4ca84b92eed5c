import pg from 'pg';
import { effectInsert, type OpenQueue } from './subject.ts';

/** Of one measurement. */
export interface Taken {
  readonly case: string;
  readonly metric: string;
  readonly unit: string;
  readonly value: number;
}

const forMs = 1_500;
const bulk = 1_000;
const bulks = 10;

/** Jobs in a second, by `lanes` callers who each await theirs before the next. */
async function perSecond(lanes: number, once: (n: number) => Promise<unknown>): Promise<number> {
  let done = 0;
  const beganMs = performance.now();
  const lane = async (): Promise<void> => {
    while (performance.now() - beganMs < forMs) {
      await once(done);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return done / ((performance.now() - beganMs) / 1_000);
}

export async function enqueue(queue: OpenQueue, databaseUrl: string): Promise<readonly Taken[]> {
  const taken: Taken[] = [];
  const take = (name: string, value: number): void => {
    taken.push({ case: name, metric: 'enqueued', unit: 'jobs/s', value });
  };
  take('enqueue, one at a time', await perSecond(1, (n) => queue.add(n)));
  take('enqueue, 50 at once', await perSecond(50, (n) => queue.add(n)));
  const { addIn } = queue;
  if (addIn !== undefined) {
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    const inTransaction = async (n: number): Promise<void> => {
      await client.query('begin');
      await client.query(effectInsert, [n]);
      await addIn(client, n);
      await client.query('commit');
    };
    take('enqueue, in a transaction with one write', await perSecond(1, inTransaction));
    await client.end();
  }
  const numbers = Array.from({ length: bulk }, (_, n) => n);
  const beganMs = performance.now();
  for (let turn = 0; turn < bulks; turn += 1) await queue.addMany(numbers);
  take(`enqueue, bulk of ${bulk}`, (bulk * bulks) / ((performance.now() - beganMs) / 1_000));
  return taken;
}
