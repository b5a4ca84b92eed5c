import type { Database } from 'plimsoll/database';
import {
  countTasksByName,
  createJobs,
  listTasks,
  taskStates,
  type DeadLetter,
  type ParkedFilter,
  type TaskCountsOfName,
  type TaskDetails,
  type TaskState,
} from 'plimsoll/jobs';
import type { CommandGroup, Values } from '../command.ts';
import { limitOf, limitOption, needOption, textOption } from '../events/options.ts';
import { table } from '../events/table.ts';
import { UsageError } from '../failure.ts';
import { onDatabase, type Report } from '../on-database.ts';

const nameOption = { value: '<command>', about: 'of this command, such as mails.send' } as const;
const idArgument = { value: '<id>', about: 'of the job' } as const;
const parkedOptions = {
  name: nameOption,
  code: { value: '<code>', about: 'whose last error has this code, such as PL_DEADLINE' },
} as const;
const chosenOptions = {
  ...parkedOptions,
  id: { value: '<id>', about: 'this one' },
  all: { about: 'all of them' },
} as const;

const uuid = /^[\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}$/i;

function idOf(id: string | undefined): string {
  if (id === undefined) throw new UsageError('no job is named; give its id, from plimsoll jobs list');
  if (!uuid.test(id))
    throw new UsageError(`${JSON.stringify(id)} is no id of a job; want one from plimsoll jobs list`);
  return id;
}

function nameArgument(argument: string | undefined): string {
  if (argument !== undefined) return argument;
  throw new UsageError('no command is named; give one, such as mails.send, from plimsoll jobs queues');
}

function parkedFilter(values: Values): ParkedFilter {
  const [name, errorCode, id] = ['name', 'code', 'id'].map((option) => textOption(values, option));
  return {
    kind: 'job',
    ...(name === undefined ? {} : { name }),
    ...(errorCode === undefined ? {} : { errorCode }),
    ...(id === undefined ? {} : { ids: [idOf(id)] }),
  };
}

/** Nobody replays or deletes everything by leaving out what he meant. */
function chosen(values: Values): ParkedFilter {
  const filter = parkedFilter(values);
  if (Object.keys(filter).length > 1 || values['all'] === true) return filter;
  throw new UsageError('which dead letters? Give --id, --name or --code, or --all');
}

const time = (at: Date | null): string =>
  at === null ? '' : at.toISOString().slice(0, 19).replace('T', ' ');

const jobColumns = ['id', 'command', 'state', 'attempt', 'due (UTC)', 'order key', 'last error'];
const jobRow = (job: TaskDetails): (string | number)[] => [
  job.id,
  job.name,
  job.state,
  `${job.attempt} of ${job.maxAttempts}`,
  time(job.runAt),
  job.orderKey ?? '',
  job.lastError?.message ?? '',
];

function queuesReport(queues: readonly TaskCountsOfName[]): Report {
  if (queues.length === 0) return { value: queues, text: 'no job is waiting, running or parked' };
  const rows = queues.map((queue) => [
    queue.name,
    queue.ready,
    queue.running,
    queue.scheduled,
    queue.waiting,
    queue.parked,
    `${(queue.lateMs / 1_000).toFixed(1)} s`,
    queue.paused ? 'paused' : '',
  ]);
  const heading = ['command', 'ready', 'running', 'scheduled', 'waiting', 'dead', 'oldest due for', ''];
  return { value: queues, text: table(heading, rows) };
}

function deadReport(letters: readonly DeadLetter[]): Report {
  if (letters.length === 0) return { value: letters, text: 'no such dead letter' };
  const rows = letters.map((letter) => [
    letter.id,
    letter.name,
    letter.attempts,
    time(letter.parkedAt),
    letter.waiting,
    letter.error?.code ?? '',
    letter.error?.message ?? '',
  ]);
  const heading = ['id', 'command', 'attempts', 'since (UTC)', 'holds up', 'code', 'error'];
  return { value: letters, text: table(heading, rows) };
}

async function shown(database: Database, id: string): Promise<Report> {
  const [job] = await database.query<TaskDetails>(listTasks({ kind: 'job', id }, 1));
  const status = await createJobs({ database }).status(id);
  if (job === undefined && status === undefined)
    throw new UsageError(
      `there is no job ${id}: it has ended without a receipt, or never was; plimsoll events trace tells what became of a request`,
    );
  const facts: (readonly [string, string])[] = [
    ['job', `${id} of ${job?.name ?? status?.name ?? ''}`],
    ['state', job?.state ?? status?.state ?? ''],
    ...(job === undefined
      ? []
      : ([
          ['attempt', `${job.attempt} of ${job.maxAttempts}`],
          ['written', `${time(job.createdAt)} UTC, by request ${job.correlationId}`],
          ['due', `${time(job.runAt)} UTC, priority ${job.priority}`],
          ...(job.worker === null
            ? []
            : [['worker', `${job.worker}, since ${time(job.startedAt)} UTC`] as const]),
          ...(job.orderKey === null ? [] : [['order key', job.orderKey] as const]),
          ...(job.groupKey === null ? [] : [['group', job.groupKey] as const]),
          ['input', JSON.stringify(job.payload)],
          ...(job.progress === null ? [] : [['progress', JSON.stringify(job.progress)] as const]),
          ...(job.lastError === null
            ? []
            : [['last error', job.lastError.stack ?? job.lastError.message] as const]),
        ] as const)),
    ...(status?.result === undefined ? [] : [['result', JSON.stringify(status.result)] as const]),
    ...(status?.reason === undefined ? [] : [['reason', status.reason] as const]),
  ];
  return {
    value: { ...job, ...status },
    text: facts.map(([name, value]) => `${name.padEnd(12)}${value}`).join('\n'),
  };
}

export const jobs: CommandGroup = {
  summary: 'see what waits and what was given up, and decide about it',
  commands: {
    queues: onDatabase({
      summary: 'how many jobs of each command are in which state',
      options: {},
      answer: async (database) =>
        queuesReport(await database.query<TaskCountsOfName>(countTasksByName(['job']))),
    }),
    list: onDatabase({
      summary: 'jobs that have not ended, in the order in which they are due',
      options: {
        name: nameOption,
        state: { value: '<state>', about: `one of ${taskStates.join(', ')}` },
        request: { value: '<id>', about: 'of what one request set off, by its correlation id' },
        limit: limitOption,
      },
      async answer(database, values) {
        const [name, asked, request] = ['name', 'state', 'request'].map((option) =>
          textOption(values, option),
        );
        const state = taskStates.find((one): one is TaskState => one === asked);
        if (asked !== undefined && state === undefined)
          throw new UsageError(
            `--state is ${JSON.stringify(asked)}; it must be one of ${taskStates.join(', ')}`,
          );
        const filter = {
          kind: 'job' as const,
          ...(name === undefined ? {} : { name }),
          ...(state === undefined ? {} : { state }),
          ...(request === undefined ? {} : { correlationId: request }),
        };
        const found = await database.query<TaskDetails>(listTasks(filter, limitOf(values)));
        return {
          value: found,
          text: found.length === 0 ? 'no such job' : table(jobColumns, found.map(jobRow)),
        };
      },
    }),
    show: onDatabase({
      summary: 'one job with its input and its last error',
      options: {},
      argument: idArgument,
      answer: (database, _values, argument) => shown(database, idOf(argument)),
    }),
    dead: onDatabase({
      summary: 'dead letters: jobs that were given up after their last attempt',
      options: { ...parkedOptions, limit: limitOption },
      answer: async (database, values) =>
        deadReport(await createJobs({ database }).deadLetters(parkedFilter(values), limitOf(values))),
    }),
    replay: onDatabase({
      summary: 'dead letters back to work, with all their attempts',
      options: chosenOptions,
      async answer(database, values) {
        const replayed = await createJobs({ database }).replay(chosen(values));
        return { value: { replayed }, text: `${replayed} back to work`, code: replayed === 0 ? 1 : 0 };
      },
    }),
    discard: onDatabase({
      summary: 'delete dead letters for good',
      options: chosenOptions,
      async answer(database, values) {
        const discarded = await createJobs({ database }).discard(chosen(values));
        return { value: { discarded }, text: `${discarded} deleted`, code: discarded === 0 ? 1 : 0 };
      },
    }),
    cancel: onDatabase({
      summary: 'end a job, running or not',
      options: { why: { value: '<text>', about: 'the reason, which its receipt keeps' } },
      argument: idArgument,
      async answer(database, values, argument) {
        const id = idOf(argument);
        const why = needOption(values, 'why', 'give --why <text>, the reason, which is kept');
        const answer = await createJobs({ database }).cancel(id, why);
        if (answer === undefined)
          return { value: { state: 'ended' }, text: `job ${id} has ended, or never was`, code: 1 };
        const asked = `job ${id} runs; it was asked to end, and does unless its effect commits before`;
        return { value: answer, text: answer.state === 'asked' ? asked : `job ${id} is cancelled` };
      },
    }),
    pause: onDatabase({
      summary: 'let no job of a command begin; what is under way ends',
      options: {},
      argument: nameOption,
      async answer(database, _values, argument) {
        const name = nameArgument(argument);
        await createJobs({ database }).pause(name);
        return {
          value: { name, paused: true },
          text: `${name} is paused; plimsoll jobs resume ${name} ends that`,
        };
      },
    }),
    resume: onDatabase({
      summary: 'let jobs of a paused command begin again',
      options: {},
      argument: nameOption,
      async answer(database, _values, argument) {
        const name = nameArgument(argument);
        await createJobs({ database }).resume(name);
        return { value: { name, paused: false }, text: `${name} goes on` };
      },
    }),
  },
};
