import type { Mutant } from '../mutants/edit.ts';

const outgoing = 'modules/outgoing.ts';
const transaction = 'modules/handler-transaction.ts';
const committed = '    outgoing.committed();\n';

/** Of what makes accepted work happen once. */
export const mutants: readonly Mutant[] = [
  {
    name: 'publish before commit',
    does: 'Writes the events and jobs of a handler in a transaction of their own, just before COMMIT.',
    edits: [
      {
        file: transaction,
        find: 'await outgoing.flush(tx, endings);',
        replace:
          'await runInContext(createContext(), () => database.transaction((other) => outgoing.flush(other, endings)));',
      },
      {
        file: transaction,
        find: 'import { assertAlive, type RequestContext }',
        replace: 'import { assertAlive, createContext, runInContext, type RequestContext }',
      },
    ],
    schedules: ['a COMMIT that fails when all was written'],
  },
  {
    name: 'order by sequence only',
    does: 'Reads the outbox behind the highest id that it has seen.',
    edits: [
      {
        file: 'outbox/relay.ts',
        find: 'select id from plimsoll.outbox where id > ${behind} order by id limit ${batch}',
        replace:
          'select id from plimsoll.outbox where id > coalesce((select max(id) from plimsoll.event), 0) order by id limit ${batch}',
      },
    ],
    schedules: ['who began to write first commits last'],
  },
  {
    name: 'complete outside the transaction',
    does: 'Ends a task after the COMMIT of its effect.',
    edits: [
      {
        file: outgoing,
        find: 'parts.push(sql`ended as (${completeTask(completion.task)})`);',
        replace: 'parts.push(sql`ended as (select 1)`);',
      },
      {
        file: transaction,
        find: committed,
        replace: `    if (completion !== undefined) await database.execute(completeTask(completion.task));\n${committed}`,
      },
      {
        file: transaction,
        find: "import { Outgoing, type Completion, type Pending } from './outgoing.ts';",
        replace:
          "import { Outgoing, type Completion, type Pending } from './outgoing.ts';\nimport { completeTask } from '../durable/task.ts';",
      },
    ],
    schedules: ['a job is taken over while its owner is still at it'],
  },
  {
    name: 'lease without fencing',
    does: 'Commits the effect of a task whose end was refused.',
    edits: [
      {
        file: outgoing,
        find: 'if (completion !== undefined && row.ended !== 1) {',
        replace: 'if (completion !== undefined && row.ended > 1) {',
      },
    ],
    schedules: ['a job is taken over while its owner is still at it'],
  },
  {
    name: 'no inbox',
    does: 'Notes nowhere that an event has had its effect.',
    edits: [
      {
        file: outgoing,
        find: 'if (row.noted !== 1) throw new AlreadyApplied();',
        replace: '',
      },
    ],
    schedules: ['an event is delivered twice'],
  },
  {
    name: 'key recorded after the effect',
    does: 'Records the answer under its key when the effect is committed, a moment later.',
    edits: [
      {
        file: transaction,
        find: 'answer: record?.recording(answer) };',
        replace: 'answer: undefined };',
      },
      {
        file: transaction,
        find: committed,
        replace: `    if (record !== undefined) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      await database.execute(record.recording(answer));
    }\n${committed}`,
      },
    ],
    schedules: ['the same key comes again at the moment of the first COMMIT'],
  },
  {
    name: 'compensation not retried',
    does: 'Takes a compensation that has thrown for one that has gone well.',
    edits: [
      {
        file: 'saga/compensate.ts',
        find: 'return failed(going, next, error);',
        replace: "history.add({ kind: 'undo_threw', place, op: 'step', error: troubleOf(error) });",
      },
    ],
    schedules: ['a compensation that fails at first'],
  },
  {
    name: 'view position outside its transaction',
    does: 'Moves the position of a view by a statement of its own.',
    edits: [
      { file: 'views/advance.ts', find: '          for no key update skip locked`);', replace: '`);' },
      {
        file: 'views/advance.ts',
        find: 'const moved = await tx.query(',
        replace: 'const moved = await database.query(',
      },
    ],
    schedules: ['a batch of a view that fails at COMMIT'],
  },
];
