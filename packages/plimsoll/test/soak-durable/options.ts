import { parseArgs } from 'node:util';
import { minutesOf, seedOf } from '../soak-run.ts';

export const help = `npm run soak:durable: whatever was accepted happens once, in order, whoever is killed

Usage: npm run soak:durable -- [options]

  --minutes <number>   how long things break (default 10, from 0.2 to 120); then all is left to come to rest
  --seed <number>      the same orders and faults as an earlier run; when they meet is up to the machine
  --json               only the last line, which is JSON
  --help               this page

Starts PostgreSQL with a synchronous standby, a bank and four processes of one app, all on loopback, and ends them.
Ends with one line of JSON; the exit code is 1 when a promise was broken or less happened than was to happen.`;

export interface SoakOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly json: boolean;
}

/** Undefined when only the help is asked for. Throws TypeError for what cannot be. */
export function readOptions(): SoakOptions | undefined {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      seed: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help === true) return undefined;
  const minutes = minutesOf(values.minutes, 0.2);
  const seed = seedOf(values.seed);
  return { minutes, seed, json: values.json };
}
