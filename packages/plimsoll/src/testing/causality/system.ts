import type { ReadLevel, Version } from './history.ts';

/** Who asks: what it carries between its requests is a text, such as a cookie or a header. */
export interface Client {
  readonly session: string;
  /** Of the last answer that had one; undefined before. */
  readonly token: string | undefined;
  /** From 0 to below 1, of the seed: chooses the process, the path, or whatever there is to choose. */
  readonly choice: number;
}

export interface RowRead extends Version {
  /** As it was written; undefined where nothing was, with version 0. */
  readonly note: string | undefined;
  /** Given to the client with the answer; knows all that the one of the request did. Undefined: it keeps what it has. */
  readonly token?: string | undefined;
  /** What the path promises. Default `session`. */
  readonly level?: ReadLevel | undefined;
  /** For people: which process, which path. */
  readonly where?: string | undefined;
}

export interface RowWritten {
  /** Undefined when it is not known whether it was committed; so is what rejects. */
  readonly version: number | undefined;
  readonly history?: number | undefined;
  readonly token?: string | undefined;
  readonly where?: string | undefined;
}

/**
 * What is tested: rows by key, each with a version that a write raises by one under its row lock, and with the note of
 * that write. Over a router, a cache, HTTP, whatever a client of yours goes through.
 */
export interface CausalSystem {
  read(key: string, client: Client): Promise<RowRead>;
  write(key: string, note: string, client: Client): Promise<RowWritten>;
  /**
   * What a client knows who has the one token and gets the other one. Where a store keeps this by session, it answers
   * undefined. Default: the later answer counts; then no session has several tabs, and none gets an event.
   */
  merge?(
    known: string | undefined,
    given: string | undefined,
  ): string | undefined | Promise<string | undefined>;
  /**
   * Ways in which a token gets from one session to another one, by name, such as `cookie`, `job` and `event`. Each
   * answers the token that arrives. Default one that hands the text over as it is.
   */
  readonly carriers?: Readonly<
    Record<string, (token: string | undefined, choice: number) => Promise<string | undefined>>
  >;
}
