import { validateHeaderName } from 'node:http';
import type { Problem } from '../kernel/errors.ts';
import { partsOf, type Purger } from './purger.ts';
import { fieldProblems, PurgeRequests, urlProblems, type PurgeRequestOptions } from './purge-requests.ts';
import { encodeTags, maxTagFieldBytes } from './tags.ts';

export interface RequestPurgerOptions extends PurgeRequestOptions {
  /** Of each cache: what one of them keeps no other one purges. Each has to answer with 2xx. */
  readonly urls: readonly [string, ...string[]];
  /** Default `PURGE`. */
  readonly method?: string;
  /** The field of tags. Default `Surrogate-Key`. */
  readonly field?: string;
  /** Between tags: a space for Varnish, `, ` for Souin. Default a space. */
  readonly separator?: string;
  /** Sent with each request, for credentials. Default none. */
  readonly headers?: Readonly<Record<string, string>>;
}

export const requestPurgerDefaults = { method: 'PURGE', field: 'surrogate-key', separator: ' ' } as const;

/**
 * Varnish, Souin and whatever else takes a request with a field of tags. Throws PL_CONFIG when an option is not valid.
 */
export function requestPurger(options: RequestPurgerOptions): Purger {
  const { name, urls, headers = {} } = options;
  const { method, field, separator } = { ...requestPurgerDefaults, ...options };
  const requests = new PurgeRequests(options, Object.values(headers), [
    ...urls.flatMap((url, index) => urlProblems(`urls[${index}]`, url)),
    ...fieldProblems(headers),
    ...shapeProblems(method, field, separator),
  ]);

  return {
    name,
    async purge(tags, signal) {
      for (const part of fitting(encodeTags(tags), separator))
        await Promise.all(
          urls.map((url) => requests.send({ method, url, headers: { ...headers, [field]: part } }, signal)),
        );
    },
  };
}

/** As many tags in a field as caches read. */
function fitting(tags: readonly string[], separator: string): readonly string[] {
  const longest = Math.max(1, ...tags.map((tag) => tag.length + separator.length));
  return partsOf(tags, Math.max(1, Math.floor(maxTagFieldBytes / longest))).map((part) =>
    part.join(separator),
  );
}

function shapeProblems(method: string, field: string, separator: string): readonly Problem[] {
  const problems: Problem[] = [];
  if (!/^[A-Z]{1,20}$/.test(method))
    problems.push({ path: 'method', message: `is ${JSON.stringify(method)}; give one such as "PURGE"` });
  if (!/^[ ,;|]{1,2}$/.test(separator))
    problems.push({
      path: 'separator',
      message: `is ${JSON.stringify(separator)}; give what no tag has: a space, a comma, or both`,
    });
  try {
    validateHeaderName(field);
  } catch {
    problems.push({ path: 'field', message: `is ${JSON.stringify(field)}; give the name of a field` });
  }
  return problems;
}
