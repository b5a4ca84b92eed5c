import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { memcachedCacheStore } from './cache-store.ts';
import { createMemcachedClient, type MemcachedClient } from './client.ts';
import { Connection } from './connection.ts';

/** To a peer that says what it is told to, whatever it is asked. */
async function withPeer(
  work: (connection: Connection, say: (bytes: Buffer) => Promise<void>) => Promise<void>,
  timeoutMs = 10_000,
): Promise<void> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const arrived = once(server, 'connection') as Promise<[Socket]>;
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
  const [peer] = await arrived;
  peer
    .setNoDelay(true)
    .resume()
    .on('error', () => undefined);
  const connection = new Connection(socket, timeoutMs);
  try {
    await work(connection, (bytes) => new Promise((resolve) => void peer.write(bytes, () => resolve())));
  } finally {
    connection.end(new Error('the test is over'));
    peer.destroy();
    server.close();
  }
}

const said = Buffer.from(
  'HD c7\r\nVA 9 t-1 c12\r\nü\r\nEN\r\nx\r\nEN\r\nSERVER_ERROR out of memory\r\nVA 0\r\n\r\n',
);
const understood = [
  { code: 'HD', flags: { c: '7' }, data: '' },
  { code: 'VA', flags: { t: '-1', c: '12' }, data: 'ü\r\nEN\r\nx' },
  { code: 'EN', flags: {}, data: '' },
  { code: 'SERVER_ERROR', flags: {}, data: 'out of memory' },
  { code: 'VA', flags: {}, data: '' },
];

test('answers are understood wherever they are cut', () =>
  withPeer(async (connection, say) => {
    for (let cut = 0; cut <= said.length; cut += 1) {
      const one = connection.send([{ line: 'a' }, { line: 'b' }]);
      const other = connection.send([{ line: 'c' }, { line: 'd', data: Buffer.from('x') }, { line: 'e' }]);
      await say(said.subarray(0, cut));
      await say(said.subarray(cut));
      expect([...(await one), ...(await other)]).toEqual(understood);
    }
  }));

test.for(['HTTP/1.1 400 Bad Request\r\n', 'VA x\r\n', '\r\n'])(
  'what is no answer ends the connection: %j',
  (garbage) =>
    withPeer(async (connection, say) => {
      const asked = connection.send([{ line: 'a' }]);
      const rejected = expect(asked).rejects.toThrow(/no answer of the meta protocol/);
      await say(Buffer.from(garbage));
      await rejected;
      expect(connection.isOpen).toBe(false);
      await expect(connection.send([{ line: 'b' }])).rejects.toThrow(/no answer of the meta protocol/);
    }),
);

test('an answer that nobody has asked for ends the connection', () =>
  withPeer(async (connection, say) => {
    await say(Buffer.from('EN\r\n'));
    await expect.poll(() => connection.isOpen, { timeout: 10_000 }).toBe(false);
  }));

test('a peer that says nothing is given up', () =>
  withPeer(async (connection) => {
    const asked = [connection.send([{ line: 'a' }]), connection.send([{ line: 'b' }])];
    for (const each of asked) await expect(each).rejects.toThrow('gave no answer for 50 ms');
  }, 50));

test('every problem of the options is told', () => {
  expect(() => createMemcachedClient({ port: 0, timeoutMs: -1 })).toThrow(/port.*timeoutMs/s);
  expect(() => memcachedCacheStore(createMemcachedClient(), { prefix: 'a b' })).toThrow(/prefix is "a b"/);
  expect(() => memcachedCacheStore({} as MemcachedClient)).toThrow(/createMemcachedClient/);
});

test('a server that is not there is told with its address, and a closed client asks nobody', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  const client = createMemcachedClient({ port });
  const table = memcachedCacheStore(client).open({
    name: 'away',
    scope: {},
    clock: { now: () => 0, monotonicMs: () => 0, sleep: async () => undefined },
  });
  await expect(table.release('k', 'me')).rejects.toThrow(`no connection to Memcached at 127.0.0.1:${port}`);
  await client.close();
  await expect(table.release('k', 'me')).rejects.toThrow('was closed');
});
