import { partsOf, type Purger } from './purger.ts';
import {
  idProblems,
  PurgeRequests,
  secretProblems,
  urlProblems,
  type PurgeRequestOptions,
} from './purge-requests.ts';
import { encodeTags } from './tags.ts';

export interface CloudflarePurgerOptions extends Omit<PurgeRequestOptions, 'name'> {
  /** Default `cloudflare`. */
  readonly name?: string;
  readonly zoneId: string;
  /** An API token with the permission "Cache Purge". */
  readonly token: string;
  /** Marks as stale (`invalidate_cache`) in place of removing (`purge_cache`). Default false. */
  readonly soft?: boolean;
  /** Default https://api.cloudflare.com/client/v4. */
  readonly api?: string;
}

/** https://developers.cloudflare.com/cache/how-to/purge-cache: operations per request, on every plan. */
const tagsPerRequest = 100;

/** Throws PL_CONFIG when an option is not valid. */
export function cloudflarePurger(options: CloudflarePurgerOptions): Purger {
  const { name = 'cloudflare', zoneId, token, soft = false } = options;
  const { api = 'https://api.cloudflare.com/client/v4' } = options;
  const requests = new PurgeRequests(
    { ...options, name },
    [token],
    [...idProblems('zoneId', zoneId), ...secretProblems('token', token), ...urlProblems('api', api)],
  );
  const url = `${api.replace(/\/$/, '')}/zones/${zoneId}/${soft ? 'invalidate_cache' : 'purge_cache'}`;
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  return {
    name,
    async purge(tags, signal) {
      for (const part of partsOf(encodeTags(tags), tagsPerRequest))
        await requests.send(
          { method: 'POST', url, headers, body: JSON.stringify({ tags: part }) },
          signal,
          isSuccess,
        );
    },
  };
}

function isSuccess(body: string): boolean {
  try {
    return (JSON.parse(body) as { readonly success?: unknown }).success === true;
  } catch {
    return false;
  }
}
