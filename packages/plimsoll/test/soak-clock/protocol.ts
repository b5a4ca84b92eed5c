import type { ReadLevel } from '../../src/testing/causality/history.ts';
import type { RouteShares } from '../../src/database/routing/counts.ts';

/** Who decides where a read goes: our levels `session` and `window`, or one of what is used elsewhere. */
export const policies = [
  'routed',
  'window in token',
  'random',
  'window in process',
  'window in cookie',
] as const;
export type Policy = (typeof policies)[number];

export const isOurs = (policy: Policy): boolean => policy === 'routed' || policy === 'window in token';

/** How long a client is kept on the primary after a write, where that is what is done. */
export const windowMs = 2_000;

export interface ProcessSettings {
  readonly number: number;
  readonly primaryUrl: string;
  readonly replicaUrls: readonly string[];
  /** Undefined: the shared tier and the bus are tables, on this connection. */
  readonly redisUrl: string | undefined;
  readonly cacheUrl: string;
  readonly secret: string;
}

export type Request =
  | { readonly do: 'read'; readonly key: string; readonly path: 'database' | 'cache' }
  | { readonly do: 'write'; readonly key: string; readonly note: string }
  /** Leaves the token for another process, and answers where. */
  | { readonly do: 'leave' }
  /** Takes one that was left: with what is in it, as an event is, or knowing only that it was there, as a job is. */
  | { readonly do: 'take'; readonly id: number; readonly as: 'job' | 'event' }
  | { readonly do: 'stats' }
  | { readonly do: 'stop' };

export type Asked = Request & {
  readonly number: number;
  readonly session: string;
  readonly token: string | undefined;
  readonly policy: Policy;
};

export interface Answer {
  readonly version?: number | undefined;
  readonly history?: number | undefined;
  readonly note?: string | undefined;
  readonly token?: string | undefined;
  readonly level?: ReadLevel | undefined;
  /** A read through the cache was answered by the database, in the context of its reader and for nobody else. */
  readonly pastCache?: boolean | undefined;
  readonly id?: number | undefined;
  readonly stats?: ProcessStats | undefined;
  readonly error?: string | undefined;
}

export interface ProcessStats {
  readonly routing: RouteShares;
  /** Of the policies that are not ours. */
  readonly others: { readonly reads: number; readonly onReplica: number };
  readonly cache: {
    readonly processHits: number;
    readonly sharedHits: number;
    readonly loads: number;
    readonly bypassed: number;
    readonly rejectedFills: number;
    readonly refreshes: number;
    readonly unheard: number;
  };
}

export type Answered = Answer & { readonly of: number };
