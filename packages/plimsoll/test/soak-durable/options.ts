import { parseArgs } from 'node:util';
import { minutesOf, seedOf } from '../soak-run.ts';

export const help = `npm run soak:durable: whatever was accepted happens once, in order, whoever is killed

Usage: npm run soak:durable -- [options]

  --minutes <number>   how long things break (default 10, from 0.2 to 120); then all is left to come to rest
  --rounds <number>    instead: until every kind of fault has happened so often (from 1 to 100)
  --seed <number>      the same orders and faults as an earlier run; when they meet is up to the machine
  --json               only the last line, which is JSON
  --help               this page

Starts PostgreSQL with a synchronous standby, a bank and four processes of one app, all on loopback, and ends them.
Ends with one line of JSON; the exit code is 1 when a promise was broken or less happened than was to happen.`;

export interface SoakOptions {
  readonly minutes: number;
  /** Undefined: as long as `minutes` say; else those are the most it may take. */
  readonly rounds: number | undefined;
  readonly seed: number;
  readonly json: boolean;
}

/** Undefined when only the help is asked for. Throws TypeError for what cannot be. */
export function readOptions(): SoakOptions | undefined {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string' },
      rounds: { type: 'string' },
      seed: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help === true) return undefined;
  if (values.minutes !== undefined && values.rounds !== undefined)
    throw new TypeError('--minutes and --rounds are both given; want one of them');
  const rounds = values.rounds === undefined ? undefined : roundsOf(values.rounds);
  const minutes = minutesOf(values.minutes ?? '10', 0.2);
  return { minutes, rounds, seed: seedOf(values.seed), json: values.json };
}

function roundsOf(given: string): number {
  const rounds = Number(given);
  if (Number.isInteger(rounds) && rounds >= 1 && rounds <= 100) return rounds;
  throw new TypeError(`--rounds is ${JSON.stringify(given)}; want a whole number from 1 to 100`);
}
