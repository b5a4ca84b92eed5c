import { parseArgs } from 'node:util';
import { check } from './commands/check.ts';
import { dev } from './commands/dev.ts';
import { doctor } from './commands/doctor.ts';
import { events } from './commands/events.ts';
import { jobs } from './commands/jobs.ts';
import { load } from './commands/load.ts';
import { migrate } from './commands/migrate.ts';
import { newApp } from './commands/new.ts';
import { sagas } from './commands/sagas.ts';
import { start } from './commands/start.ts';
import { views } from './commands/views.ts';
import type { Command, CommandGroup } from './command.ts';
import { describeFailure, UsageError } from './failure.ts';

const commands: Readonly<Record<string, Command | CommandGroup>> = {
  new: newApp,
  start,
  dev,
  migrate,
  load,
  doctor,
  check,
  jobs,
  events,
  sagas,
  views,
};

const summaries = (of: Readonly<Record<string, { readonly summary: string }>>): readonly string[] =>
  Object.entries(of).map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`);

function help(): string {
  const rows = summaries(commands);
  return [
    'plimsoll: know how much load your backend takes, what breaks first, and switch on what fixes it',
    '',
    'Usage: plimsoll <command> [options]',
    '',
    ...rows,
    '',
    'plimsoll <command> --help tells the options of a command.',
  ].join('\n');
}

function groupHelp(name: string, { summary, commands: own }: CommandGroup): string {
  return [
    `plimsoll ${name}: ${summary}`,
    '',
    `Usage: plimsoll ${name} <command> [options]`,
    '',
    ...summaries(own),
    '',
    `plimsoll ${name} <command> --help tells the options of a command.`,
  ].join('\n');
}

/** The command that is meant, with what is left of the line; undefined when only help is. */
function commandOf(
  name: string,
  rest: readonly string[],
): { readonly name: string; readonly command: Command; readonly rest: readonly string[] } | undefined {
  const found = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (found === undefined)
    throw new UsageError(
      `there is no command ${JSON.stringify(name)}; there are ${Object.keys(commands).join(', ')}`,
    );
  if (!('commands' in found)) return { name, command: found, rest };
  const [own = '--help', ...more] = rest;
  if (own.startsWith('-')) return undefined;
  const command = Object.hasOwn(found.commands, own) ? found.commands[own] : undefined;
  if (command === undefined)
    throw new UsageError(
      `there is no command ${JSON.stringify(`${name} ${own}`)}; there are ${Object.keys(found.commands)
        .map((each) => `${name} ${each}`)
        .join(', ')}`,
    );
  return { name: `${name} ${own}`, command, rest: more };
}

function commandHelp(name: string, command: Command): string {
  const rows = Object.entries(command.options).map(
    ([option, { value, about }]) =>
      `  --${`${option}${value === undefined ? '' : ` ${value}`}`.padEnd(22)}${about}`,
  );
  const { argument } = command;
  return [
    `plimsoll ${name}: ${command.summary}`,
    '',
    `Usage: plimsoll ${name}${argument === undefined ? '' : ` ${argument.value}`} [options]`,
    '',
    ...(argument === undefined ? [] : [`  ${argument.value.padEnd(24)}${argument.about}`]),
    ...rows,
    `  --${'help'.padEnd(22)}this page`,
    ...(command.notes === undefined ? [] : ['', command.notes]),
  ].join('\n');
}

async function main(argv: readonly string[]): Promise<number> {
  const [first, ...others] = argv;
  if (first === undefined || first === '--help' || first === '-h' || first === 'help') {
    process.stdout.write(`${help()}\n`);
    return first === undefined ? 2 : 0;
  }
  const meant = commandOf(first, others);
  if (meant === undefined) {
    process.stdout.write(`${groupHelp(first, commands[first] as CommandGroup)}\n`);
    return others.length === 0 ? 2 : 0;
  }
  const { name, command, rest } = meant;
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(`${commandHelp(name, command)}\n`);
    return 0;
  }
  const options = Object.fromEntries(
    Object.entries(command.options).map(([key, { value }]) => [
      key,
      { type: value === undefined ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  let values: Readonly<Record<string, string | boolean | undefined>>;
  let positionals: readonly string[];
  try {
    const allowPositionals = command.argument !== undefined;
    ({ values, positionals } = parseArgs({ args: rest, options, strict: true, allowPositionals }));
  } catch (error) {
    throw new UsageError(
      `${error instanceof Error ? error.message : String(error)}; see plimsoll ${name} --help`,
    );
  }
  if (positionals.length > 1)
    throw new UsageError(
      `plimsoll ${name} takes one ${command.argument?.value ?? 'argument'}, not ${positionals.length}: ${positionals.join(' ')}`,
    );
  return command.run(values, positionals[0]);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`plimsoll: ${describeFailure(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
// What a command has left open would keep the process; commands that serve return only when they have ended.
if (process.connected) process.disconnect();
