import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { CacheCounts } from './counts.ts';
import type { CachePolicy, CachePolicyOptions, Load, Tags } from './policy.ts';
import type { Position } from './position.ts';

export interface CacheState extends CacheCounts {
  readonly name: string;
  readonly entries: number;
  readonly bytes: number;
  readonly evicted: number;
  /** Loads under way. */
  readonly flights: number;
  /** Tags and keys whose versions or floors are known here. */
  readonly slots: number;
  /** Whether this process would be told of what others invalidate; while it would not, it keeps nothing. */
  readonly trusted: boolean;
  /** Undefined without a shared tier. */
  readonly shared:
    | {
        readonly health: 'up' | 'down';
        readonly failures: number;
        readonly timeouts: number;
        /** Invalidations that it has yet to be told. */
        readonly pending: number;
        /** Fills that came too late, by what it knew. */
        readonly rejected: number;
      }
    | undefined;
}

export interface Invalidating {
  readonly tags?: readonly string[];
  readonly keys?: readonly string[];
  /** Where the commit is that changed them: what is loaded from now on must be at or past it. */
  readonly at?: Position;
  /** Id of the row that {@link recordInvalidation} wrote of it: with a position it need not be applied again. */
  readonly row?: string;
}

export interface Writing {
  /** Tells where the write was committed. */
  reflect: (position: Position) => void;
}

/** Options given in place, with the loader. Make a {@link CachePolicy} of what is asked for often. */
export type LoadingOptions<V> = CachePolicyOptions & { readonly load: Load<V> };

/**
 * The questions and invalidations of one cache, or of a part of it: the same tags, other keys.
 */
export interface CacheView {
  /** What is kept, else what `load` brings. Rejects with the loader's error, or PL_TIMEOUT, when nothing else can be answered. */
  get<V>(
    key: string,
    policy: CachePolicy | CachePolicyOptions,
    load: Load<V>,
    /** Of this value, where its key does not say them. Default those of the policy. */
    tags?: () => Tags,
  ): Promise<V>;
  get<V>(key: string, options: LoadingOptions<V>): Promise<V>;
  /**
   * What this process keeps and may be answered at once, without a promise; undefined when `get` has to be asked.
   * The type is the caller's claim.
   */
  peek(key: string): unknown;
  /**
   * Writes, then invalidates the key and the tags of the policy, then keeps what was written, unless somebody else has
   * invalidated any of them since before the write.
   */
  write<V>(
    key: string,
    policy: CachePolicy | CachePolicyOptions,
    write: (writing: Writing) => Promise<V>,
  ): Promise<V>;
  /**
   * After the commit. When it resolves, no `get` that begins from then on in this process is answered with anything
   * older. True when the shared tier and the bus have been told too; false when they could not be yet: then they will.
   */
  invalidate(what: Invalidating): Promise<boolean>;
}

/** Started and stopped only for the sake of its bus; without one it works as it is. */
export interface Cache extends CacheView, AsyncDisposable {
  readonly name: string;
  readonly lifecycle: Lifecycle;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Keys with a prefix of their own. */
  namespace(name: string): CacheView;
  /** Invalidates everything. */
  clear(): Promise<boolean>;
  state(): CacheState;
}
