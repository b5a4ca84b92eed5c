import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EmbeddedError, messageOf } from './errors.ts';
import type { ProcessIdentity } from './process-entry.ts';
import { identify, isRunning } from './process-table.ts';
import type { Place } from './places.ts';
import { until } from './until.ts';

export interface Guardian {
  readonly identity: ProcessIdentity;
  /** Settles once it watches; rejects when it could not start. */
  readonly ready: Promise<void>;
  /** Lets it go; resolves when it has ended. It stops whatever still runs. */
  release(): Promise<void>;
}

/** `.ts` from source, `.js` from the built package. */
const program = fileURLToPath(
  new URL(`./guardian-main${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url),
);

export function startGuardian(place: Place): Guardian {
  const logFile = join(place.path, 'guardian.log');
  const log = openSync(logFile, 'a', 0o600);
  const child = spawn(process.execPath, [program, place.path, place.temporary ? 'temporary' : 'kept'], {
    // A session of its own: Ctrl-C in the terminal reaches neither it nor the servers.
    detached: true,
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin' },
    stdio: ['pipe', 'pipe', log],
  });
  closeSync(log);
  const { stdin, stdout } = child;
  const failed = (why: string, cause?: unknown): EmbeddedError =>
    new EmbeddedError(
      'PL_EMBEDDED_START',
      `The process that would stop PostgreSQL if this program is killed could not be started (${process.execPath} ${program}): ${why}`,
      { cause },
    );
  const started = new Promise<void>((resolve, reject) => {
    child.once('error', (error) => reject(failed(messageOf(error), error)));
    const ended = (code: number | null, signal: NodeJS.Signals | null): void =>
      reject(
        failed(
          `it ended at once with ${signal ?? `code ${code}`}, on Node ${process.version}: ${tail(logFile)}`,
        ),
      );
    child.once('exit', ended);
    stdout?.once('data', () => {
      child.off('exit', ended);
      resolve();
    });
  });
  stdin?.on('error', () => undefined);
  stdout?.on('error', () => undefined);
  const identity = child.pid === undefined ? undefined : identify(child.pid);
  if (identity === undefined) throw failed('it has no process id');
  const unref = (): void => {
    child.unref();
    for (const stream of [stdin, stdout])
      if (stream !== null && 'unref' in stream && typeof stream.unref === 'function') stream.unref();
  };
  const ready = started.finally(unref);
  // Awaited later, or never when the start fails for another reason.
  ready.catch(() => undefined);
  return {
    identity,
    ready,
    release: async () => {
      stdin?.destroy();
      stdout?.destroy();
      await until(() => !isRunning(identity), {
        timeoutMs: 60_000,
        everyMs: 5,
        late: () => failed(`it did not end within 60 s; end process ${identity.pid} by hand`),
      });
    },
  };
}

function tail(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim().split('\n').slice(-12).join('\n');
  } catch {
    return 'it left no message';
  }
}
