import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { CacheView } from '../cache/cache.ts';
import {
  cachePolicy,
  type CachePolicy,
  type CachePolicyOptions,
  type Loading,
  type Tags,
} from '../cache/policy.ts';
import { createContext, currentContext, type Caller, type RequestContext } from '../kernel/context.ts';
import { isPlimsollError, PlimsollError, type Problem } from '../kernel/errors.ts';
import { systemClock } from '../kernel/clock.ts';
import type { AnyCommand, AnyQuery, TagsOf } from './contract.ts';
import type { InvalidationCheck } from './invalidation-check.ts';

/** Parts of the caller that a key can have. */
export type CallerPart = 'principal' | 'tenant';

type Common = Omit<CachePolicyOptions, 'tags'> & {
  /**
   * What of the caller the answer depends on; each has values of its own then. A handler that reads what is not
   * listed gets PL_CACHE_CALLER. With `principal` at most {@link mostTtlOfPrincipalMs}. Default nothing.
   */
  readonly by?: readonly CallerPart[];
  /**
   * Commands, and subscriptions as `module.name`, that write a table which the query reads and yet do not change its
   * answer: they need not invalidate its tags. Default none.
   */
  readonly unaffectedBy?: readonly (AnyCommand | string)[];
  /** The answer may be as old as `ttlMs` says, whatever is written: no command has to invalidate it. Default false. */
  readonly untilTtl?: boolean;
};

/** How the answers of a query are kept. The tags are those of its contract, where that has some. */
export type QueryCacheOptions<Op extends AnyQuery = AnyQuery> = Common &
  (Op extends { readonly tags: TagsOf<Op['input']> }
    ? { readonly tags?: TagsOf<Op['input']> }
    : { readonly tags: TagsOf<Op['input']> });

/** A query and how its answers are kept, for the plan. */
export interface CachedQuery {
  readonly operation: AnyQuery;
  readonly options: Common & { readonly tags?: TagsOf<AnyQuery['input']> };
}

/** Nobody bounds how many principals there are, so what is kept for each ends soon. Milliseconds. */
export const mostTtlOfPrincipalMs = 600_000;

/** For the plan: `cached(inventory.stock, { ttlMs: 60_000 })`. Without a time, or without tags, it does not compile. */
export function cached<Op extends AnyQuery>(operation: Op, options: QueryCacheOptions<Op>): CachedQuery {
  return { operation, options: options as CachedQuery['options'] };
}

/** What the list asks for that cannot be. */
export function cachedQueryProblems(queries: readonly CachedQuery[], path: string): readonly Problem[] {
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const [index, { operation, options }] of queries.entries()) {
    const at = `${path}[${index}]`;
    const add = (message: string): void => void problems.push({ path: at, message });
    // Of plans that were not compiled.
    if ((operation.kind as string) !== 'query') add(`${operation.id} is no query; a command is never cached`);
    if (seen.has(operation.id)) add(`${operation.id} is listed twice`);
    seen.add(operation.id);
    if (tagsOf({ operation, options }) === undefined)
      add(`${operation.id} has no tags; give \`tags\` here or in its contract`);
    if (options.by?.includes('principal') === true && options.ttlMs > mostTtlOfPrincipalMs)
      add(
        `keeps values of each principal for ${options.ttlMs} ms; nobody bounds how many there are, so give a ttlMs up to ${mostTtlOfPrincipalMs}`,
      );
    try {
      policyOf({ operation, options });
    } catch (error) {
      if (!isPlimsollError(error, 'PL_CONFIG')) throw error;
      for (const problem of error.data['problems'] as readonly Problem[])
        problems.push({ path: `${at}.${problem.path}`, message: problem.message });
    }
  }
  return problems;
}

const tagsOf = ({ operation, options }: CachedQuery): TagsOf<AnyQuery['input']> | undefined =>
  options.tags ?? (operation.tags as TagsOf<AnyQuery['input']> | undefined);

// Each value has tags of its own, by its input; those of the policy are asked for by nobody.
function policyOf({ operation, options }: CachedQuery): CachePolicy {
  const { by: _by, unaffectedBy: _unaffectedBy, untilTtl: _untilTtl, tags: _tags, ...policy } = options;
  return cachePolicy({ ...policy, tags: [operation.id] });
}

export interface QueryCachesOptions {
  readonly cache: Pick<CacheView, 'get'>;
  readonly queries: readonly CachedQuery[];
  /** Of the form of a query's answers; another one is another key, so that a deploy does not read what it cannot. */
  readonly formOf?: (operation: AnyQuery) => string;
  /** Finds writes that should have invalidated. Default none. */
  readonly check?: InvalidationCheck | undefined;
  /** Whether to check that what is kept is JSON. Default false. */
  readonly strict?: boolean;
}

/** Answers a query from what is kept, or by `run`, in the context that it is given. */
export type AnswerQuery = (
  input: unknown,
  context: RequestContext,
  run: (context: RequestContext) => Promise<unknown>,
) => Promise<unknown>;

/** The queries of an app that are cached, by their ids. */
export function createQueryCaches(options: QueryCachesOptions): ReadonlyMap<string, AnswerQuery> {
  return new Map(options.queries.map((query) => [query.operation.id, answerQuery(query, options)]));
}

function answerQuery(query: CachedQuery, options: QueryCachesOptions): AnswerQuery {
  const { cache, check, formOf = () => '', strict = false } = options;
  const { id } = query.operation;
  const { by = [] } = query.options;
  const policy = policyOf(query);
  const tagsOfInput = tagsOf(query) as (input: unknown) => Tags;
  const prefix = `${id}${formOf(query.operation)}:`;

  return (input, context, run) => {
    const identity = by.map((part) => context.caller[part] ?? null);
    const caller = new KeyedCaller(id, context.caller, by);
    const load = async ({ signal }: Loading): Promise<unknown> => {
      const value = await run(loadContext(currentContext() ?? context, context, caller, policy, signal));
      if (strict && value !== undefined) assertJson(id, value);
      check?.loaded(id, tagsOfInput(input));
      return value;
    };
    check?.asked(id, context.path);
    return cache.get(keyOf(prefix, identity, input), policy, load, () => tagsOfInput(input));
  };
}

/**
 * Of a load for all who wait: it ends with none of them. Where the cache is passed over, for one reader alone, it is
 * his: with his deadline, and what he has seen.
 */
function loadContext(
  around: RequestContext,
  asked: RequestContext,
  caller: Caller,
  { options: { abandonMs } }: CachePolicy,
  signal: AbortSignal,
): RequestContext {
  const { span, seen, strong, causationId } = around;
  const own = { span, seen, strong, causationId, caller, path: asked.path };
  const { deadlineAtMs, cancellation } = asked;
  return around === asked
    ? createContext({ ...own, deadlineAtMs, cancellation })
    : createContext({ ...own, deadlineAtMs: systemClock.monotonicMs() + abandonMs, signal });
}

/** Shows what the key has of the caller, and throws PL_CACHE_CALLER for the rest: others would get the same answer. */
class KeyedCaller implements Caller {
  readonly #query: string;
  readonly #caller: Caller;
  readonly #by: readonly CallerPart[];

  constructor(query: string, caller: Caller, by: readonly CallerPart[]) {
    this.#query = query;
    this.#caller = caller;
    this.#by = by;
  }

  // `undefined` where there is none: the interface leaves the property out.
  get principal(): string {
    return this.#part('principal') as string;
  }

  get tenant(): string {
    return this.#part('tenant') as string;
  }

  #part(part: CallerPart): string | undefined {
    if (this.#by.includes(part)) return this.#caller[part];
    throw new PlimsollError(
      'PL_CACHE_CALLER',
      `${this.#query} is cached and read the caller's ${part}, which is not in its key: others would be answered with the same; give \`by: ['${part}']\` in its policy, or do not cache it`,
      { data: { operation: this.#query, part } },
    );
  }
}

/** Longer keys are hashed. */
const mostKeyLength = 200;

function keyOf(prefix: string, identity: readonly (string | null)[], input: unknown): string {
  const text = JSON.stringify(identity.length === 0 ? [input] : [input, identity], sorted);
  if (text.length <= mostKeyLength) return prefix + text;
  return `${prefix}#${createHash('sha256').update(text).digest('base64url')}`;
}

/** Properties in one order, whatever the order they were given in. */
function sorted(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value);
  return entries.length < 2 ? value : Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function assertJson(id: string, value: unknown): void {
  if (isDeepStrictEqual(JSON.parse(JSON.stringify(value)), value)) return;
  throw new PlimsollError(
    'PL_OUTPUT_INVALID',
    `output of ${id}: it is cached, and does not come back from JSON as it was; leave transforms to dates, maps and classes to those who ask`,
    { data: { operation: id } },
  );
}
