/**
 * A bank for development, tests and drills, as a process of its own. It keeps the one promise a payment
 * provider gives (one effect per `Idempotency-Key`) and misbehaves on demand in every other way.
 *
 *     POST /charges, /refunds   { pence } with `Idempotency-Key`: 201 { id }, 402 { reason }, 422 other body
 *     GET  /ledger              every entry with its key and how often it was asked for
 *     PUT  /mode                { mode, latencyMs?, errorRate? }
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { untilStopped } from '@plimsoll/cli/process';
import { z } from 'zod';
import { readBankEnvironment } from '../env.ts';
import { createLedger, unitOf, type Ask } from './ledger.ts';

const modeSchema = z.object({
  /** slow: `latencyMs` more. flaky: `errorRate` of asks fail, half of them after the effect. down: connections are reset. */
  mode: z.enum(['ok', 'slow', 'flaky', 'hanging', 'down']),
  latencyMs: z.int().min(0).max(60_000).default(1_000),
  errorRate: z.number().min(0).max(1).default(0.5),
});
const askSchema = z.object({ pence: z.int().nonnegative() });
const kinds: Readonly<Record<string, Ask['kind']>> = { '/charges': 'charge', '/refunds': 'refund' };

const ledger = createLedger();
// Set by PUT /mode.
let mode = modeSchema.parse({ mode: 'ok' });
// Chances in flaky mode depend on the key and on how often anything was asked.
let asked = 0;

const server = createServer((request, response) => {
  handle(request, response).catch((error: unknown) => {
    if (request.destroyed && response.destroyed) return;
    const invalid = error instanceof z.ZodError || error instanceof SyntaxError;
    send(response, invalid ? 400 : 500, { error: String(error) });
  });
});

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method = '', url = '' } = request;
  if (method === 'GET' && url === '/ledger') return send(response, 200, { entries: ledger.entries() });
  if (method === 'PUT' && url === '/mode') {
    mode = modeSchema.parse(JSON.parse(await text(request)));
    return send(response, 200, mode);
  }
  const kind = method === 'POST' ? kinds[url] : undefined;
  if (kind === undefined) return send(response, 404, { error: `no ${method} ${url} here` });
  const key = request.headers['idempotency-key'];
  if (typeof key !== 'string' || key === '') return send(response, 400, { error: 'no Idempotency-Key' });
  return decide(request, response, kind, key);
}

async function decide(
  request: IncomingMessage,
  response: ServerResponse,
  kind: Ask['kind'],
  key: string,
): Promise<void> {
  // The mode may change while the request waits; it keeps the one it came in with.
  const { mode: current, latencyMs, errorRate } = mode;
  if (current === 'down') return void request.socket.resetAndDestroy();
  if (current === 'hanging') return;
  const { pence } = askSchema.parse(JSON.parse(await text(request)));
  asked += 1;
  const chance = current === 'flaky' ? unitOf(`${key}/${asked}`) : 1;
  if (chance < errorRate / 2) return send(response, 500, { error: 'failed before the effect' });
  const entry = ledger.record({ kind, key, pence });
  await sleep(5 + 10 * unitOf(key) + (current === 'slow' ? latencyMs : 0));
  if (chance < errorRate) return send(response, 500, { error: 'failed after the effect' });
  if (entry === undefined) return send(response, 422, { error: `${key} was used for something else` });
  if (entry.outcome === 'declined') return send(response, 402, { reason: 'insufficient funds' });
  return send(response, 201, { id: entry.id });
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

server.listen(readBankEnvironment(process.env).BANK_PORT, '127.0.0.1');
await once(server, 'listening');
const ready = { listening: (server.address() as AddressInfo).port };
console.log(JSON.stringify(ready));
process.send?.(ready);

await untilStopped();
server.close();
// Requests that hang would hold the exit up.
server.closeAllConnections();
if (process.connected) process.disconnect();
