import { Seen, seenTokens } from 'plimsoll/database';
import type { CausalityChecker, CausalSystem, Client, ReadLevel } from 'plimsoll/testing';
import type { ServingProcess } from './child-process.ts';
import { isOurs, type Answer, type Policy } from './protocol.ts';

export interface SystemOptions {
  readonly processes: readonly ServingProcess[];
  readonly policy: Policy;
  readonly secret: string;
  /** Part of the reads that go through the cache. */
  readonly cacheShare: number;
  /** What is asked of those. */
  readonly cacheLevel: ReadLevel;
  /**
   * Holds each process to what it has invalidated itself, whoever asks: its cache answers nothing older from then on. To
   * this checker a process is a session.
   */
  readonly processChecker?: CausalityChecker;
}

const now = (): number => Math.round(performance.now());

/** Clients that any process may serve, and that carry nothing but their token. */
export function systemOf(options: SystemOptions): CausalSystem {
  const { processes, policy, secret, cacheShare, cacheLevel, processChecker } = options;
  const tokens = seenTokens(secret);
  const seenBy = (token: string | undefined): Seen =>
    (token === undefined ? undefined : tokens.read(token)) ?? new Seen();
  const processFor = (choice: number): ServingProcess => {
    const process = processes[Math.floor(choice * processes.length)];
    if (process === undefined) throw new Error('there is no process');
    return process;
  };
  /** What is left of the choice of the process. */
  const rest = (choice: number): number => (choice * processes.length) % 1;
  const identity = ({ session, token }: Client) => ({ session, token, policy });
  const answered = (answer: Answer): Answer => {
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  };

  return {
    async read(key, client) {
      const process = processFor(client.choice);
      const path = policy === 'routed' && rest(client.choice) < cacheShare ? 'cache' : 'database';
      const begun =
        path === 'cache' ? processChecker?.begin(`process ${process.number}`, key, now()) : undefined;
      const answer = answered(await process.ask({ do: 'read', key, path }, identity(client)));
      // Past the cache it is what its reader may be shown, whatever the process has invalidated since.
      if (begun !== undefined && answer.pastCache !== true)
        processChecker?.endRead(begun, {
          ...answer,
          version: answer.version ?? 0,
          level: 'ryw',
          where: client.session,
          at: now(),
        });
      const { version = 0, history, note, token } = answer;
      const level = path === 'cache' ? cacheLevel : 'session';
      return { version, history, note, token, level, where: `process ${process.number}, ${path}` };
    },
    async write(key, note, client) {
      const process = processFor(client.choice);
      const begun = processChecker?.begin(`process ${process.number}`, key, now());
      const answer = await process.ask({ do: 'write', key, note }, identity(client));
      if (begun !== undefined && answer.version !== undefined)
        processChecker?.endWrite(begun, {
          ...answer,
          version: answer.version,
          where: client.session,
          at: now(),
        });
      const { version, history, token, error } = answer;
      if (error !== undefined && token === undefined) throw new Error(error);
      // A failed commit may have happened, and the token says so.
      return { version, history, token, where: `process ${process.number}` };
    },
    merge(known, given) {
      if (isOurs(policy)) {
        const seen = seenBy(known);
        seen.mergeAll(seenBy(given));
        return tokens.write(seen);
      }
      return policy === 'window in cookie' ? String(Math.max(Number(known ?? 0), Number(given ?? 0))) : known;
    },
    carriers: {
      cookie: (token) => Promise.resolve(token),
      ...(isOurs(policy) && { job: carry('job'), event: carry('event') }),
    },
  };

  /** Through a row that one process leaves and another one takes. */
  function carry(as: 'job' | 'event') {
    return async (token: string | undefined, choice: number): Promise<string | undefined> => {
      const leaves = processFor(choice);
      const takes = processFor(rest(choice));
      const client = { session: as, token, policy };
      const { id = 0 } = answered(await leaves.ask({ do: 'leave' }, client));
      return answered(await takes.ask({ do: 'take', id, as }, { ...client, token: undefined })).token;
    };
  }
}
