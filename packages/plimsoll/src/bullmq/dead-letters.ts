import { assertSomeFilter, type DeadLetter, type ParkedFilter } from '../durable/dead-letters.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import { isGone } from './enqueue.ts';
import { isJobData, type BullJob } from './job-data.ts';
import { keptError } from './job-failure.ts';
import type { Queues } from './queues.ts';
import { unknownName } from './refused.ts';
import { attemptsOf } from './status.ts';

/** So many are read, or dealt with, at once. */
const page = 200;

interface Letter {
  readonly name: string;
  readonly job: BullJob;
  readonly letter: DeadLetter;
}

/** The newest first; at most `limit`. */
export async function listDeadLetters(
  queues: Queues,
  filter: ParkedFilter,
  limit: number,
): Promise<readonly DeadLetter[]> {
  return (await findLetters(queues, filter, limit)).map(({ letter }) => letter);
}

export async function replayDeadLetters(queues: Queues, filter: ParkedFilter): Promise<number> {
  // The oldest first, as they were.
  const letters = (await findLetters(queues, filter, Infinity)).toReversed();
  return forEach(letters, ({ name, job }) =>
    queues.ask(name, async () => {
      if (isJobData(job.data)) {
        // BullMQ begins to count failures anew, but not deaths. Who wanted it to end has been overruled.
        const { cancelReason, ...data } = job.data;
        if (job.stalledCounter > 0 || cancelReason !== undefined)
          await job.updateData({ ...data, diedBefore: job.stalledCounter });
      }
      await job.retry('failed', { resetAttemptsMade: true, resetAttemptsStarted: true });
      return true;
    }),
  );
}

export async function discardDeadLetters(queues: Queues, filter: ParkedFilter): Promise<number> {
  assertSomeFilter(filter);
  return forEach(await findLetters(queues, filter, Infinity), ({ name, job }) =>
    queues.ask(name, async (queue) => (await job.isFailed()) && (await queue.remove(job.id ?? '')) === 1),
  );
}

/** How many of them `act` was good for; one that somebody else has dealt with meanwhile does not count. */
async function forEach(
  letters: readonly Letter[],
  act: (letter: Letter) => Promise<boolean>,
): Promise<number> {
  let acted = 0;
  for (let from = 0; from < letters.length; from += page) {
    const each = letters.slice(from, from + page).map(async (letter) => {
      try {
        return await act(letter);
      } catch (error) {
        if (isGone(error)) return false;
        throw error;
      }
    });
    acted += (await Promise.all(each)).filter(Boolean).length;
  }
  return acted;
}

async function findLetters(queues: Queues, filter: ParkedFilter, limit: number): Promise<readonly Letter[]> {
  if (filter.name !== undefined) throwIfProblems('the filter', unknownName(filter.name, queues.names));
  const names = filter.name === undefined ? [...queues.names] : [filter.name];
  const found = await Promise.all(names.map((name) => lettersOf(queues, name, filter, limit)));
  return found
    .flat()
    .toSorted((a, b) => b.letter.parkedAt.getTime() - a.letter.parkedAt.getTime())
    .slice(0, limit);
}

async function lettersOf(
  queues: Queues,
  name: string,
  filter: ParkedFilter,
  limit: number,
): Promise<Letter[]> {
  // By id: one that is added while we read moves the others on, to be read again.
  const letters = new Map<string, Letter>();
  for (let from = 0; letters.size < limit; from += page) {
    const jobs: readonly BullJob[] = await queues.ask(name, (queue) =>
      queue.getJobs(['failed'], from, from + page - 1),
    );
    if (jobs.length === 0) break;
    for (const job of jobs) {
      const letter = letterOf(name, job);
      if (matches(letter, filter)) letters.set(letter.id, { name, job, letter });
    }
  }
  return [...letters.values()];
}

function letterOf(name: string, job: BullJob): DeadLetter {
  const ours = isJobData(job.data);
  return {
    id: job.id ?? '',
    kind: 'job',
    name,
    payload: ours ? job.data.input : job.data,
    attempts: attemptsOf(job),
    error: keptError(job) ?? null,
    parkedAt: new Date(job.finishedOn ?? job.timestamp),
    createdAt: new Date(job.timestamp),
    orderKey: null,
    waiting: 0,
    correlationId: ours ? job.data.correlationId : '',
    causationId: ours ? (job.data.causationId ?? null) : null,
  };
}

function matches(letter: DeadLetter, filter: ParkedFilter): boolean {
  const { ids, kind, orderKey, errorCode, correlationId, parkedAfter, parkedBefore } = filter;
  return (
    (ids === undefined || ids.includes(letter.id)) &&
    (kind === undefined || kind === letter.kind) &&
    orderKey === undefined &&
    (errorCode === undefined || errorCode === letter.error?.code) &&
    (correlationId === undefined || correlationId === letter.correlationId) &&
    (parkedAfter === undefined || letter.parkedAt > parkedAfter) &&
    (parkedBefore === undefined || letter.parkedAt < parkedBefore)
  );
}
