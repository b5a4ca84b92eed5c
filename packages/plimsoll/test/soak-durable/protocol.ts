import type { Order, Release } from './modules.ts';

export interface ChildSettings {
  readonly name: string;
  readonly databaseUrl: string;
  readonly bankUrl: string;
  readonly release: Release;
}

export type Request =
  | { readonly do: 'place'; readonly order: Order }
  /** The wall clock is that much ahead from now on. */
  | { readonly do: 'jump'; readonly ms: number }
  | { readonly do: 'memory' }
  | { readonly do: 'stop' };

export type Asked = Request & { readonly number: number };

/** `error` is set when it failed, or is not known to have happened. */
export interface Answer {
  readonly of: number;
  readonly error?: string;
  readonly heapMb?: number;
}
