import { parseArgs } from 'node:util';
import { minutesOf, seedOf } from '../soak-run.ts';
import type { ReadLevel } from 'plimsoll/testing';

export const help = `npm run soak:clock: read your writes and monotonic reads, through replicas and caches, while things break

Usage: npm run soak:clock -- [options]

  --minutes <number>      how long it takes in all, roughly (default 10, from 1 to 120)
  --seed <number>         the same sessions and faults as an earlier run; when they meet is up to the machine
  --cache-level <level>   what reads through the cache are held to: session (default), or ryw, which is what caches
                          of several processes promise where nobody tells them what was invalidated
  --json                  only the last line, which is JSON
  --help                  this page

Starts PostgreSQL with two replicas, Redis where there is one on the PATH, and two processes, each with a router and a
cache of its own, all on loopback, and ends them. Ends with one line of JSON; the exit code is 1 when a promise was
broken or less happened than was to happen.`;

export interface SoakOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly cacheLevel: ReadLevel;
  readonly json: boolean;
}

/** Undefined when only the help is asked for. Throws TypeError for what cannot be. */
export function readOptions(): SoakOptions | undefined {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      seed: { type: 'string' },
      'cache-level': { type: 'string', default: 'session' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help === true) return undefined;
  const minutes = minutesOf(values.minutes, 1);
  const seed = seedOf(values.seed);
  const cacheLevel = (['ryw', 'session'] as const).find((level) => level === values['cache-level']);
  if (cacheLevel === undefined)
    throw new TypeError(`--cache-level is ${JSON.stringify(values['cache-level'])}; want ryw or session`);
  return { minutes, seed, cacheLevel, json: values.json };
}
