import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { EmbeddedError } from './errors.ts';

/**
 * Below the range that Linux (32768) and macOS (49152) hand to outgoing connections: there a client that
 * retries a server which is down could connect to itself, and a restart could find its port taken.
 */
const lowest = 15_000;
const highest = 32_000;

export async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen({ port, host: '127.0.0.1', exclusive: true });
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  }
}

/** `preferred` when it is free, else any free port. */
export async function freePort(preferred?: number, taken: ReadonlySet<number> = new Set()): Promise<number> {
  if (preferred !== undefined && !taken.has(preferred) && (await isFree(preferred))) return preferred;
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const port = randomInt(lowest, highest);
    if (!taken.has(port) && (await isFree(port))) return port;
  }
  throw new EmbeddedError(
    'PL_EMBEDDED_PORT',
    `No free port found on 127.0.0.1 between ${lowest} and ${highest} in 200 attempts: close what holds them, or pass \`port\`.`,
  );
}

export async function requirePort(port: number): Promise<number> {
  if (await isFree(port)) return port;
  throw new EmbeddedError(
    'PL_EMBEDDED_PORT',
    `Port ${port} on 127.0.0.1, given as \`port\`, cannot be used: another program listens on it, or it is reserved. Stop that program, pass another port, or leave \`port\` out to get a free one.`,
  );
}
