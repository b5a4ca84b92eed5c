import { systemClock } from '../kernel/clock.ts';
import { partsOf, type Purger } from './purger.ts';
import {
  idProblems,
  PurgeRequests,
  secretProblems,
  urlProblems,
  type PurgeRequestOptions,
} from './purge-requests.ts';
import { encodeTags } from './tags.ts';

export interface FastlyPurgerOptions extends Omit<PurgeRequestOptions, 'name'> {
  /** Default `fastly`. */
  readonly name?: string;
  readonly serviceId: string;
  /** An API token with the scope `purge_select`. */
  readonly token: string;
  /**
   * Marks as stale in place of removing: it is answered once more while it is asked for (`staleWhileRevalidateMs`), and
   * while we are down (`staleIfErrorMs`). Default true.
   */
  readonly soft?: boolean;
  /**
   * Purges once more after so long: with shielding an edge may ask a shield that is not purged yet. Fastly advises 2 s.
   * A relay of invalidations does it by itself. Default 0: once.
   */
  readonly againAfterMs?: number;
  /** Default https://api.fastly.com. */
  readonly api?: string;
}

/** https://www.fastly.com/documentation/reference/api/purging: "Purge multiple surrogate key tags". */
const keysPerRequest = 256;

/** Throws PL_CONFIG when an option is not valid. */
export function fastlyPurger(options: FastlyPurgerOptions): Purger {
  const { name = 'fastly', serviceId, token, soft = true, againAfterMs = 0, clock = systemClock } = options;
  const { api = 'https://api.fastly.com' } = options;
  const requests = new PurgeRequests(
    { ...options, name },
    [token],
    [...idProblems('serviceId', serviceId), ...secretProblems('token', token), ...urlProblems('api', api)],
  );
  const url = `${api.replace(/\/$/, '')}/service/${serviceId}/purge`;
  const headers = {
    'fastly-key': token,
    'content-type': 'application/json',
    accept: 'application/json',
    ...(soft ? { 'fastly-soft-purge': '1' } : {}),
  };

  async function once(keys: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    for (const part of partsOf(keys, keysPerRequest))
      await requests.send(
        { method: 'POST', url, headers, body: JSON.stringify({ surrogate_keys: part }) },
        signal,
      );
  }

  return {
    name,
    async purge(tags, signal) {
      const keys = encodeTags(tags);
      await once(keys, signal);
      if (againAfterMs === 0 || keys.length === 0) return;
      await clock.sleep(againAfterMs, signal);
      await once(keys, signal);
    },
  };
}
