import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ready } from './ready.ts';

const workers = 5;
const workMs = 50;

const waiting: ServerResponse[] = [];
let working = 0;

/** Whoever asked is answered, also when nobody listens any more, as most servers do. */
function take(): void {
  while (working < workers) {
    const response = waiting.shift();
    if (response === undefined) return;
    working += 1;
    setTimeout(() => {
      response.end('done');
      working -= 1;
      take();
    }, workMs);
  }
}

const server = createServer((_request, response) => {
  waiting.push(response);
  take();
}).listen(0, '127.0.0.1');
await once(server, 'listening');
ready(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, () => ({ waiting: waiting.length }));
