import { userInfo } from 'node:os';
import { createDatabase, type Database } from 'plimsoll/database';
import {
  approveSaga,
  cancelSaga,
  compensateSaga,
  listSagas,
  rejectSaga,
  resumeSaga,
  retrySaga,
  showSaga,
  type Decision,
  type SagaState,
} from 'plimsoll/saga';
import type { Command, CommandGroup, CommandOption, Values } from '../command.ts';
import { numberOption, UsageError } from '../failure.ts';
import { loadPlan, planOption } from '../plan-file.ts';
import { renderSaga, renderSagas } from '../sagas/render-sagas.ts';
import { joinServers } from '../servers.ts';

const json = { about: 'print JSON on standard output' } as const;
const options = { plan: planOption, json };
const sagaId = { value: '<id>', about: 'of the saga, from plimsoll sagas list: orders.checkout/42' } as const;
const states: readonly SagaState[] = ['running', 'waiting', 'compensating', 'done', 'compensated', 'stuck'];

interface Opened extends AsyncDisposable {
  readonly database: Database;
}

async function open(values: Values): Promise<Opened> {
  const plan = await loadPlan(values);
  const servers = await joinServers(plan, (line) => void process.stderr.write(`${line}\n`));
  const database = createDatabase({ url: servers.url, applicationName: `${plan.name} sagas` });
  return {
    database,
    async [Symbol.asyncDispose]() {
      await database.close();
      await servers[Symbol.asyncDispose]();
    },
  };
}

/** JSON where it was asked for, else what is for people. */
function print(values: Values, value: unknown, text: string): void {
  process.stdout.write(values['json'] === true ? `${JSON.stringify(value, null, 2)}\n` : `${text}\n`);
}

const textOf = (values: Values, name: string): string | undefined => {
  const given = values[name];
  return typeof given === 'string' ? given : undefined;
};

function idOf(argument: string | undefined): string {
  if (argument !== undefined) return argument;
  throw new UsageError('no saga is named; give its id, such as orders.checkout/42, from plimsoll sagas list');
}

const list: Command = {
  summary: 'the newest sagas, and where they are',
  options: {
    ...options,
    state: { value: '<state>', about: `one of ${states.join(', ')}` },
    name: { value: '<saga>', about: 'module and name: orders.checkout' },
    limit: { value: '<number>', about: 'at most so many (default 50)' },
  },
  async run(values) {
    const asked = textOf(values, 'state');
    const state = states.find((one) => one === asked);
    if (asked !== undefined && state === undefined)
      throw new UsageError(`--state is ${JSON.stringify(asked)}; it must be one of ${states.join(', ')}`);
    const limit = numberOption('limit', values['limit'], { min: 1, max: 10_000 });
    const name = textOf(values, 'name');
    await using opened = await open(values);
    const sagas = await listSagas(opened.database, {
      ...(state === undefined ? {} : { state }),
      ...(name === undefined ? {} : { name }),
      ...(limit === undefined ? {} : { limit }),
    });
    print(values, sagas, renderSagas(sagas));
    return 0;
  },
};

const show: Command = {
  summary: 'one saga with everything that happened',
  options,
  argument: sagaId,
  async run(values, argument) {
    const id = idOf(argument);
    await using opened = await open(values);
    const saga = await showSaga(opened.database, id);
    print(values, saga, renderSaga(saga));
    return 0;
  },
};

interface DecisionCommand {
  readonly summary: string;
  readonly options?: Readonly<Record<string, CommandOption>>;
  readonly notes?: string;
  readonly decide: (database: Database, id: string, decision: Decision, values: Values) => Promise<void>;
}

/** A command that changes one saga, and says who did it and why. */
function decision({ summary, options: own = {}, notes, decide }: DecisionCommand): Command {
  return {
    summary,
    options: {
      ...options,
      ...own,
      why: { value: '<text>', about: 'the reason, kept in the history (required)' },
      who: { value: '<name>', about: 'who decides (default: the user of this system)' },
    },
    argument: sagaId,
    ...(notes === undefined ? {} : { notes }),
    async run(values, argument) {
      const id = idOf(argument);
      const why = textOf(values, 'why');
      if (why === undefined || why.trim() === '')
        throw new UsageError('--why is missing; the reason stays in the history of the saga');
      const who = textOf(values, 'who') ?? userInfo().username;
      await using opened = await open(values);
      await decide(opened.database, id, { who, why }, values);
      const saga = await showSaga(opened.database, id);
      print(values, saga, renderSagas([saga]));
      return 0;
    },
  };
}

const approval = { approval: { value: '<name>', about: 'which, when it waits for several' } };
const answers =
  (answer: typeof approveSaga): DecisionCommand['decide'] =>
  (database, id, by, values) => {
    const name = textOf(values, 'approval');
    return answer(database, id, { ...by, ...(name === undefined ? {} : { approval: name }) });
  };

const retry = decision({
  summary: 'try at once again what has failed',
  decide: retrySaga,
});

const resume = decision({
  summary: 'go on with one that is stuck, or as if a step were done by hand',
  options: {
    step: { value: '<name>', about: 'the step, or the one to be undone, that was done by hand' },
    result: { value: '<json>', about: 'what came of the step (default nothing)' },
  },
  decide(database, id, by, values) {
    const step = textOf(values, 'step');
    const result = textOf(values, 'result');
    return resumeSaga(database, id, {
      ...by,
      ...(step === undefined ? {} : { step }),
      ...(result === undefined ? {} : { result: parseResult(result) }),
    });
  },
});

function parseResult(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new UsageError(`--result is ${JSON.stringify(text)}, which is not JSON: ${String(error)}`);
  }
}

const compensate = decision({
  summary: 'undo everything that it did',
  options: { 'assume-undone': { about: 'steps without a known outcome did not happen; do not ask again' } },
  decide: (database, id, by, values) =>
    compensateSaga(database, id, { ...by, assumeUndone: values['assume-undone'] === true }),
});

const cancel = decision({
  summary: 'stop one that has not ended, and undo what it did',
  decide: cancelSaga,
});

const approve = decision({
  summary: 'say yes to what it waits for',
  options: approval,
  decide: answers(approveSaga),
});
const reject = decision({
  summary: 'say no to what it waits for',
  options: approval,
  decide: answers(rejectSaga),
});

export const sagas: CommandGroup = {
  summary: 'see where sagas are, and decide by hand',
  commands: { list, show, retry, resume, compensate, cancel, approve, reject },
};
