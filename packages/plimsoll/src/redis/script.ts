import { createHash } from 'node:crypto';
import type { RedisCommands } from './client.ts';

/** A Lua script, and the name that the server knows it by once it has it. */
export interface Script {
  readonly text: string;
  readonly sha: string;
}

export function scriptOf(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}

/** Rejects at once without a connection, so that no commands pile up in the client. */
export async function runScript(
  commands: RedisCommands,
  { text, sha }: Script,
  keys: string[],
  given: string[],
): Promise<unknown> {
  if (!commands.ready()) throw new Error('the Redis client is not connected');
  try {
    return await commands.evalSha(sha, keys, given);
  } catch (error) {
    // A server that was restarted, flushed or failed over to knows no script.
    if (error instanceof Error && error.message.startsWith('NOSCRIPT'))
      return await commands.eval(text, keys, given);
    throw error;
  }
}
