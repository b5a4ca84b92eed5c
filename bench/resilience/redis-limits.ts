// @ts-expect-error it has no types
import RedisStore from '@fastify/rate-limit/store/RedisStore.js';
import { Redis } from 'ioredis';
import { redisRateLimitStore } from 'plimsoll/redis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import { createClient } from 'redis';
import { noRedis, startRedis } from '../../packages/plimsoll/src/redis/fixtures/redis-server.ts';
import type { Opening } from './compare.ts';
import {
  fastifyTake,
  flexibleTake,
  hourMs,
  limitSubjects,
  plimsollTake,
  type FastifyStore,
  type Limiter,
} from './limiters.ts';

type NewRedisStore = new (
  continueExceeding: boolean,
  exponentialBackoff: boolean,
  redis: Redis,
  prefix: string,
) => FastifyStore;

export const redisLimitsName = 'rate limit in Redis, 64 callers';

/** A private server on this machine; each subject has a connection of its own. */
export const redisLimits: Opening = async () => {
  if (noRedis !== undefined) return { name: redisLimitsName, skipped: noRedis };
  const closing: (() => unknown)[] = [];
  const close = async (): Promise<void> => {
    for (const end of closing.splice(0).toReversed()) await end();
  };
  try {
    const server = await startRedis();
    closing.push(() => server.stop());
    const ioredis = (enableAutoPipelining: boolean): Redis => {
      const client = new Redis(server.url, { enableAutoPipelining });
      closing.push(() => client.disconnect());
      return client;
    };
    const nodeRedis = createClient({ url: server.url });
    nodeRedis.on('error', () => undefined);
    await nodeRedis.connect();
    closing.push(() => nodeRedis.destroy());

    const pipelined = [false, true].flatMap((auto): Limiter[] => {
      const suffix = auto ? ', auto' : '';
      const how = auto ? 'ioredis with enableAutoPipelining' : 'ioredis';
      const clients = { own: ioredis(auto), flexible: ioredis(auto), fastify: ioredis(auto) };
      return [
        {
          name: `plimsoll${suffix}`,
          setting: `redisRateLimitStore, GCRA; the callers of one turn of the event loop share a command; ${how}`,
          async make(name, limit) {
            await clients.own.ping();
            const store = redisRateLimitStore(clients.own, { prefix: `plimsoll${suffix}` });
            return plimsollTake(name, { kind: 'rate', limit, perMs: hourMs }, store);
          },
        },
        {
          name: `rate-limiter-flexible${suffix}`,
          setting: `RateLimiterRedis, fixed window, ${how}`,
          make: (name, points) =>
            flexibleTake(
              new RateLimiterRedis({
                storeClient: clients.flexible,
                keyPrefix: `flexible${suffix}:${name}`,
                points,
                duration: hourMs / 1_000,
              }),
            ),
        },
        {
          name: `@fastify/rate-limit${suffix}`,
          setting: `its RedisStore, without the plugin around it, fixed window, ${how}`,
          make(name, points) {
            const prefix = `fastify${suffix}:${name}:`;
            return fastifyTake(
              new (RedisStore as NewRedisStore)(false, false, clients.fastify, prefix),
              points,
            );
          },
        },
      ];
    });
    const limiters: readonly Limiter[] = [
      ...pipelined,
      {
        name: 'plimsoll, node-redis',
        setting: 'redisRateLimitStore, GCRA; the same by redis (node-redis), which always pipelines',
        make: (name, limit) =>
          plimsollTake(
            name,
            { kind: 'rate', limit, perMs: hourMs },
            redisRateLimitStore(nodeRedis, { prefix: 'plimsoll, node-redis' }),
          ),
      },
    ];
    return {
      name: redisLimitsName,
      baseline: '@fastify/rate-limit',
      burstMs: 250,
      withServer: true,
      subjects: limitSubjects(limiters, { callers: 64 }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
};
