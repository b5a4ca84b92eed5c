import { watch } from 'node:fs';
import { dirname, resolve, sep } from 'node:path';
import type { Command } from '../command.ts';
import { describeFailure } from '../failure.ts';
import { loadPlan, planOption } from '../plan-file.ts';
import { startChild, type Child } from '../process/child.ts';
import { untilStopped } from '../process/until-stopped.ts';
import { openServers } from '../servers.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const ignored = new Set(['node_modules', '.git', '.plimsoll', 'dist']);

/** Changes closer together than this are one. */
const settleMs = 120;

export const dev: Command = {
  summary: 'run the app and start it again whenever a file changes',
  options: {
    plan: planOption,
    port: { value: '<number>', about: 'HTTP port' },
    'log-level': { value: '<level>', about: 'default warn' },
  },
  notes: 'The database keeps running between restarts. After an error it waits for the next change.',
  async run(values) {
    const stopped = untilStopped();
    const file = resolve(typeof values['plan'] === 'string' ? values['plan'] : 'plimsoll.plan.ts');
    // The plan may not load just now; where the database is does not change while we run.
    const plan = await loadPlan(values);
    await using servers = await openServers(plan, say);
    const args = [
      'start',
      '--plan',
      file,
      '--log-level',
      String(values['log-level'] ?? 'warn'),
      ...(values['port'] === undefined ? [] : ['--port', String(values['port'])]),
    ];
    const env = { DATABASE_URL: servers.url, DATABASE_REPLICA_URLS: servers.replicaUrls.join(',') };
    const bin = resolve(import.meta.dirname, '../../bin/plimsoll.js');

    // Replaced at every change; the queue makes restarts follow one another.
    let child: Child | undefined;
    let queue: Promise<void> = Promise.resolve();
    const restart = (why: string): void => {
      queue = queue.then(async () => {
        await child?.stop();
        child = undefined;
        say(why);
        try {
          child = await startChild({ name: plan.name, file: bin, args, env });
        } catch (error) {
          say(`${describeFailure(error instanceof Error ? error.message : error)}; waiting for a change`);
        }
      });
    };

    restart(`starting ${plan.name}`);
    let timer: NodeJS.Timeout | undefined;
    const watcher = watch(dirname(file), { recursive: true }, (_event, changed) => {
      if (changed === null || changed.split(sep).some((part) => ignored.has(part))) return;
      clearTimeout(timer);
      timer = setTimeout(() => restart(`${changed} changed, starting again`), settleMs);
    });
    watcher.on('error', (error) => say(`cannot watch ${dirname(file)}: ${error.message}`));

    say(`stopping: ${await stopped}`);
    watcher.close();
    clearTimeout(timer);
    await queue;
    await child?.stop();
    return 0;
  },
};
