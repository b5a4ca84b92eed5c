import { throwIfProblems } from '../kernel/errors.ts';
import type { Cache } from './cache.ts';
import { CacheEngine } from './engine.ts';
import { cacheProblems, cacheSettings, type CacheOptions } from './options.ts';

/** Throws PL_CONFIG when an option is not valid, naming every problem. */
export function createCache(options: CacheOptions): Cache {
  const settings = cacheSettings(options);
  throwIfProblems(`the cache ${JSON.stringify(options.name)}`, cacheProblems(settings));
  return new CacheEngine(settings);
}
