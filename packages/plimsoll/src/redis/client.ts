/** A client of `redis` (node-redis), single or of a sentinel; made by `createClient`. */
export interface NodeRedisLike {
  readonly isReady: boolean;
  evalSha(sha: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  unlink(keys: string[]): Promise<unknown>;
}

/** A client of `ioredis`, single or of a cluster. */
export interface IoRedisLike {
  readonly status: string;
  /** True of its `Cluster`. */
  readonly isCluster?: boolean;
  evalsha(sha: string, keys: number, ...rest: string[]): Promise<unknown>;
  eval(script: string, keys: number, ...rest: string[]): Promise<unknown>;
  unlink(...keys: string[]): Promise<unknown>;
}

/** A cluster of `redis` (node-redis), made by `createCluster`: it knows no state of its own. */
export interface NodeRedisClusterLike extends Omit<NodeRedisLike, 'isReady'> {
  readonly isOpen: boolean;
}

export type RedisClient = NodeRedisLike | NodeRedisClusterLike | IoRedisLike;

/** What we need of Redis, whichever client sends it. */
export interface RedisCommands {
  /** False while there is no connection: commands would only pile up in the client. */
  ready(): boolean;
  /** Whether keys may be on several nodes, so that one command cannot have any two of them. */
  readonly cluster: boolean;
  evalSha(sha: string, keys: string[], given: string[]): Promise<unknown>;
  eval(script: string, keys: string[], given: string[]): Promise<unknown>;
  unlink(key: string): Promise<unknown>;
}

export function commandsOf(client: RedisClient): RedisCommands {
  if ('evalsha' in client) {
    return {
      ready: () => client.status === 'ready',
      cluster: client.isCluster === true,
      evalSha: (sha, keys, given) => client.evalsha(sha, keys.length, ...keys, ...given),
      eval: (script, keys, given) => client.eval(script, keys.length, ...keys, ...given),
      unlink: (key) => client.unlink(key),
    };
  }
  return {
    ready: () => ('isReady' in client ? client.isReady : client.isOpen),
    cluster: !('isReady' in client),
    evalSha: (sha, keys, given) => client.evalSha(sha, { keys, arguments: given }),
    eval: (script, keys, given) => client.eval(script, { keys, arguments: given }),
    unlink: (key) => client.unlink([key]),
  };
}
