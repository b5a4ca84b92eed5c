import { createClient } from 'redis';
import { note, type cacheFaults, type Fault } from './faults.ts';

const milliseconds = (random: () => number, least: number, most: number): number =>
  least + random() * (most - least);

/** Entries of the bus that nobody may have read yet are deleted: each who has not finds a gap. */
const dropped: Fault = async (context) => {
  const { redis, servers } = context;
  let [count, tries] = [0, 200];
  const client = redis === undefined ? undefined : createClient({ url: redis.url });
  client?.on('error', () => undefined);
  await client?.connect();
  try {
    while (count < 3 && tries > 0) {
      tries -= 1;
      if (client === undefined) {
        const gone = await servers.ask(
          servers.primary,
          `delete from plimsoll.cache_bus where place = (select max(place) from plimsoll.cache_bus) returning 1`,
        );
        count += gone.length;
      } else {
        const stream = 'plimsoll:cache-bus:{clock}:stream';
        const last = (await client.xRevRange(stream, '+', '-', { COUNT: 1 }))?.[0];
        if (last !== undefined) count += await client.xDel(stream, last.id);
      }
      await context.pause(10);
    }
  } finally {
    client?.destroy();
  }
  if (count === 0) throw new Error('there was no message to drop');
  note(context, 'bus messages dropped', count);
};

const delayed: Fault = async ({ cacheProxy, random, pause }) => {
  cacheProxy.delayMs = milliseconds(random, 20, 90);
  await pause(milliseconds(random, 500, 1_500));
  // The longest is beyond what anybody waits for.
  if (random() < 0.3) {
    cacheProxy.delayMs = 1_200;
    await pause(800);
  }
  cacheProxy.delayMs = 0;
};

const restarted: Fault = async ({ redis, pause, random }) => {
  await redis?.signal('SIGKILL');
  await pause(milliseconds(random, 50, 500));
  await redis?.restart();
};

const frozen: Fault = async ({ redis, pause, random }) => {
  await redis?.signal('SIGSTOP');
  try {
    await pause(milliseconds(random, 300, 2_500));
  } finally {
    await redis?.signal('SIGCONT');
  }
};

export const cacheFaultsByKind: Readonly<Record<(typeof cacheFaults)[number], Fault>> = {
  'bus messages dropped': dropped,
  'bus messages delayed': delayed,
  'Redis restarted': restarted,
  'Redis frozen': frozen,
};
