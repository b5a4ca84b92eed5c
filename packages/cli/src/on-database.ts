import type { Plan } from 'plimsoll';
import { createDatabase, type Database } from 'plimsoll/database';
import type { Command, Values } from './command.ts';
import { loadPlan, planOption } from './plan-file.ts';
import { joinServers } from './servers.ts';

/** What a command found: for programs, and for people. */
export interface Report {
  readonly value: unknown;
  readonly text: string;
}

export interface DatabaseCommand extends Pick<Command, 'summary' | 'options' | 'notes' | 'argument'> {
  readonly answer: (
    database: Database,
    values: Values,
    argument: string | undefined,
    plan: Plan,
  ) => Promise<Report & { readonly code?: number }>;
}

/** A command on the database of the plan, which answers with a text for people or with JSON. */
export function onDatabase({ answer, options, ...described }: DatabaseCommand): Command {
  return {
    ...described,
    options: { plan: planOption, ...options, json: { about: 'print JSON on standard output' } },
    async run(values, argument) {
      const plan = await loadPlan(values);
      await using servers = await joinServers(plan, (line) => void process.stderr.write(`${line}\n`));
      await using database = createDatabase({ url: servers.url, applicationName: `${plan.name} plimsoll` });
      const { value, text, code = 0 } = await answer(database, values, argument, plan);
      process.stdout.write(`${values['json'] === true ? JSON.stringify(value, null, 2) : text}\n`);
      return code;
    },
  };
}
