/**
 * A mail server for development and tests, as a process of its own: takes every mail over SMTP and remembers
 * its Message-ID and how often it came, nothing else. `GET /messages` over HTTP tells.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { untilStopped } from '@plimsoll/cli/process';
import { SMTPServer } from 'smtp-server';
import { readMailEnvironment } from '../env.ts';

/** Older ones are forgotten. */
const remembered = 200_000;
/** The header with the Message-ID is in the first bytes of a mail. */
const headBytes = 16_384;

const counts = new Map<string, number>();

function remember(head: string): void {
  const id = /^message-id:\s*(\S+)/im.exec(head)?.[1] ?? '(none)';
  counts.set(id, (counts.get(id) ?? 0) + 1);
  if (counts.size > remembered) for (const oldest of counts.keys()) return void counts.delete(oldest);
}

const smtp = new SMTPServer({
  authOptional: true,
  disabledCommands: ['AUTH', 'STARTTLS'],
  disableReverseLookup: true,
  closeTimeout: 1_000,
  onData(stream, _session, done) {
    let head = '';
    stream.on('data', (chunk: Buffer) => {
      if (head.length < headBytes) head += chunk.toString('latin1');
    });
    stream.on('end', () => {
      remember(head);
      done();
    });
  },
});
// A client that breaks off is its own problem; not being able to listen is ours.
smtp.on('error', (error) => {
  if (!smtp.server.listening) throw error;
});

const http = createServer((request, response) => {
  const found = request.method === 'GET' && request.url === '/messages';
  const messages = [...counts].map(([id, count]) => ({ id, count }));
  response
    .writeHead(found ? 200 : 404, { 'content-type': 'application/json' })
    .end(JSON.stringify(found ? { messages } : { error: 'GET /messages is all there is' }));
});

const { MAIL_SMTP_PORT, MAIL_HTTP_PORT } = readMailEnvironment(process.env);
smtp.listen(MAIL_SMTP_PORT, '127.0.0.1');
http.listen(MAIL_HTTP_PORT, '127.0.0.1');
await Promise.all([once(smtp.server, 'listening'), once(http, 'listening')]);
const portOf = (server: Server): number => (server.address() as AddressInfo).port;
const ready = { smtp: portOf(smtp.server), http: portOf(http) };
console.log(JSON.stringify(ready));
process.send?.(ready);

await untilStopped();
smtp.close();
http.close();
http.closeAllConnections();
if (process.connected) process.disconnect();
