import { randomUUID } from 'node:crypto';
import { background } from '../kernel/channels.ts';
import type { BusMessage, InvalidationBus } from '../cache/bus.ts';
import {
  latestFloor,
  SequencedBus,
  type MessageStream,
  type SequencedBusOptions,
  type StreamBatch,
  type StreamPart,
} from '../cache/sequenced-bus.ts';
import { commandsOf, type RedisClient, type RedisCommands } from './client.ts';
import { runScript, scriptOf } from './script.ts';

/** A connection of `redis` (node-redis) that only listens: `client.duplicate()`, connected. */
export interface NodeRedisSubscriber {
  pSubscribe(patterns: string, listener: (message: string) => void): Promise<unknown>;
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
}

/** A connection of `ioredis` that only listens: `client.duplicate()`. */
export interface IoRedisSubscriber {
  psubscribe(pattern: string): Promise<unknown>;
  subscribe(channel: string): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
  on(event: 'message', listener: (channel: string, message: string) => void): unknown;
  off(event: 'message', listener: (channel: string, message: string) => void): unknown;
}

export interface RedisBusOptions extends SequencedBusOptions {
  readonly client: RedisClient;
  /** A connection that only listens. Default none: then others hear within `pollMs`. */
  readonly subscriber?: NodeRedisSubscriber | IoRedisSubscriber;
  /** Before every key. Default `plimsoll:cache`. */
  readonly prefix?: string;
}

/** Messages that are kept for who has not read them yet; who is later than that forgets everything. */
const kept = 10_000;
const mostBatches = 500;

const begin = `
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('UNLINK', KEYS[2])
  redis.call('HSET', KEYS[1], 'life', ARGV[1], 'place', 0)
end
`;
/** KEYS: the head, the stream. ARGV: a life, the messages, how many are kept, the channel, their floor. */
const appendScript = scriptOf(`${begin}
local place = redis.call('HINCRBY', KEYS[1], 'place', 1)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], place .. '-0', 'm', ARGV[2])
if ARGV[5] > (redis.call('HGET', KEYS[1], 'floor') or '') then redis.call('HSET', KEYS[1], 'floor', ARGV[5]) end
redis.call('PUBLISH', ARGV[4], redis.call('HGET', KEYS[1], 'life') .. ' ' .. place .. ' ' .. ARGV[2])
return place
`);
/** KEYS as above. ARGV: a life, the place or '', how many at most. */
const readScript = scriptOf(`${begin}
local head = redis.call('HMGET', KEYS[1], 'life', 'place', 'floor')
local batches = {}
if ARGV[2] ~= '' then
  for i, each in ipairs(redis.call('XRANGE', KEYS[2], '(' .. ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])) do
    batches[i] = {each[1], each[2][2]}
  end
end
return {head[1], head[2], batches, head[3] or ''}
`);

type Told = StreamBatch & { readonly life: string };

/** What the append script publishes: life, place and messages. Undefined for what cannot be read, which is asked for. */
function toldIn(text: string): Told | undefined {
  const [, life = '', place, messages = ''] = /^(\S+) (\d+) (.*)$/s.exec(text) ?? [];
  try {
    return { life, place: Number(place), messages: JSON.parse(messages) as BusMessage[] };
  } catch {
    return undefined;
  }
}

/** Invalidations over a stream in Redis or Valkey. */
export function redisBus(options: RedisBusOptions): InvalidationBus {
  const { client, subscriber, prefix = 'plimsoll:cache' } = options;
  const commands = commandsOf(client);
  return {
    open: (bus) =>
      new SequencedBus(
        new RedisStream(commands, subscriber, `${prefix}-bus:{${bus.name}}`, bus.scope),
        bus,
        options,
      ),
  };
}

class RedisStream implements MessageStream {
  readonly #commands: RedisCommands;
  readonly #subscriber: NodeRedisSubscriber | IoRedisSubscriber | undefined;
  readonly #keys: string[];
  readonly #channel: string;
  readonly #scope: object;

  constructor(
    commands: RedisCommands,
    subscriber: NodeRedisSubscriber | IoRedisSubscriber | undefined,
    name: string,
    scope: object,
  ) {
    this.#commands = commands;
    this.#subscriber = subscriber;
    this.#keys = [`${name}:head`, `${name}:stream`];
    this.#channel = `${name}:wake`;
    this.#scope = scope;
  }

  async append(messages: readonly BusMessage[]): Promise<void> {
    const [text, floor] = [JSON.stringify(messages), latestFloor(messages)];
    const given = [randomUUID(), text, String(kept), this.#channel, floor];
    await runScript(this.#commands, appendScript, this.#keys, given);
  }

  async readAfter(place: number | undefined): Promise<StreamPart> {
    const given = [randomUUID(), place === undefined ? '' : String(place), String(mostBatches)];
    const answer = await runScript(this.#commands, readScript, this.#keys, given);
    const [life, head, batches, floor] = answer as [string, string, [string, string][], string];
    return {
      life,
      head: Number(head),
      floor,
      batches: batches.map(([id, messages]) => ({
        place: Number.parseInt(id, 10),
        messages: JSON.parse(messages) as BusMessage[],
      })),
    };
  }

  async listen(wake: (told?: Told) => void): Promise<() => Promise<void>> {
    const subscriber = this.#subscriber;
    const channel = this.#channel;
    if (subscriber === undefined) return async () => undefined;
    const onTold = (text: string): void => wake(toldIn(text));
    const onMessage = (from: string, text: string): void => {
      if (from === channel) onTold(text);
    };
    try {
      if ('psubscribe' in subscriber) {
        subscriber.on('message', onMessage);
        await subscriber.subscribe(channel);
      } else await subscriber.subscribe(channel, onTold);
      // For what was sent before it listened.
      wake();
    } catch (error) {
      background.publish({ scope: this.#scope, what: `subscribing to ${channel}`, error });
    }
    return async () => {
      if ('psubscribe' in subscriber) subscriber.off('message', onMessage);
      // A connection that is gone listens to nothing.
      await subscriber.unsubscribe(channel).catch(() => undefined);
    };
  }
}
