import type { Clock } from '../kernel/clock.ts';
import type { Mark } from './position.ts';
import type { SharedInvalidation } from './shared-store.ts';

/** What one process tells the others of its cache. */
export interface BusMessage extends SharedInvalidation {
  /** The cache that sent it, which has done it already. */
  readonly from: string;
  /** Its shared tier could not be told: whoever can, tells it. */
  readonly sharedPending: boolean;
  /** The row that says so, where it was told with the position of a commit. */
  readonly row?: string;
}

export interface BusOptions {
  /** Of the cache: what others send is not heard. */
  readonly name: string;
  readonly clock: Clock;
  /** Whose telemetry this is. */
  readonly scope: object;
  /** In the order in which they were sent, each at least once. */
  readonly onMessage: (message: BusMessage) => void;
  /**
   * True: from now on every message will be given. False: one may be missing, because there was a gap, the
   * connection broke, or nothing was heard for too long. It begins as false.
   *
   * `floor`, with true: the latest position of all that was sent before. Whoever was not there to hear it may load
   * from a replica that has not heard of it either.
   */
  readonly onTrust: (trusted: boolean, floor?: Mark) => void;
}

export interface BusConnection {
  /** Once a publication has resolved, after so long each process has heard of it, or trusts nothing. Milliseconds. */
  readonly silentMs: number;
  /** Resolves when it is trusted, or when it is clear that this will take longer; it goes on trying. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /**
   * Resolves when all that was published before, by whomever, was given to `onMessage` here: true. False when it is not
   * trusted, or ceases to be meanwhile.
   */
  catchUp(): Promise<boolean>;
  /** Resolves when all that listen will be told. */
  publish(message: BusMessage): Promise<void>;
}

/** Tells the caches of other processes what was invalidated. */
export interface InvalidationBus {
  open(options: BusOptions): BusConnection;
}
