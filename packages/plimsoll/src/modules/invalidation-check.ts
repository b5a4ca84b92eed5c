import { background } from '../kernel/channels.ts';
import type { RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';

/** A table that a statement names, as `schema.table`. */
export interface TouchedTable {
  readonly table: string;
  readonly written: boolean;
}

/** A writer that changed a table which a cached query reads, and invalidated none of the query's tags. */
export interface MissedInvalidation {
  readonly query: string;
  readonly writer: string;
  readonly table: string;
  /** Of the query's tags, up to their first colon. */
  readonly tags: readonly string[];
}

/** A cached query, as far as it is checked. */
export interface CheckedQuery {
  readonly operation: { readonly id: string };
  readonly options: {
    readonly unaffectedBy?: readonly ({ readonly id: string } | string)[];
    readonly untilTtl?: boolean;
  };
}

export interface InvalidationCheckOptions {
  readonly queries: readonly CheckedQuery[];
  /** Whose findings these are, in the background channel. */
  readonly scope: object;
  /** Whether what is found is PL_MISSED_INVALIDATION for who is at it, or only told. */
  readonly refuse: boolean;
}

interface ReadQuery {
  readonly id: string;
  readonly unaffectedBy: ReadonlySet<string>;
  readonly tables: Set<string>;
  /** Of the tags of what was loaded. */
  readonly families: Set<string>;
  /** Cached queries that its handler asked: what changes them changes it. */
  readonly asks: Set<ReadQuery>;
}

/** Different sets of tags that one writer is remembered to have invalidated with one table, at most. */
const mostVariants = 20;

/**
 * Compares the tables that commands write with those that cached queries read: what it knows it has seen in statements,
 * so a view, a function or a trigger hides its tables from it. Tags are compared by their family, what is before the
 * first colon: `product:7` and `product:8` are of one.
 */
export class InvalidationCheck {
  readonly #queries: ReadonlyMap<string, ReadQuery>;
  readonly #scope: object;
  readonly #refuse: boolean;
  /** By writer and table: the families that it invalidated when it wrote there, each variant once. */
  readonly #writers = new Map<string, Map<string, Map<string, ReadonlySet<string>>>>();
  readonly #written = new WeakMap<RequestContext, Set<string>>();
  readonly #found = new Map<string, MissedInvalidation>();

  constructor({ queries, scope, refuse }: InvalidationCheckOptions) {
    this.#scope = scope;
    this.#refuse = refuse;
    // One that may be as old as its time needs nobody.
    const checked = queries.filter(({ options }) => options.untilTtl !== true);
    this.#queries = new Map(
      checked.map(({ operation: { id }, options: { unaffectedBy = [] } }) => [
        id,
        {
          id,
          unaffectedBy: new Set(
            unaffectedBy.map((writer) => (typeof writer === 'string' ? writer : writer.id)),
          ),
          tables: new Set(),
          families: new Set(),
          asks: new Set(),
        },
      ]),
    );
  }

  get found(): readonly MissedInvalidation[] {
    return [...this.#found.values()];
  }

  /** A statement is sent in this context. */
  touched(context: RequestContext, tables: readonly TouchedTable[]): void {
    for (const { table, written } of tables) {
      if (written) {
        let known = this.#written.get(context);
        if (known === undefined) this.#written.set(context, (known = new Set()));
        known.add(table);
      }
      // A query of another module that it calls is part of its answer.
      for (const id of context.path) this.#queries.get(id)?.tables.add(table);
    }
  }

  /** A cached query is asked, perhaps by another one. */
  asked(id: string, path: readonly string[]): void {
    const inner = this.#queries.get(id);
    if (inner === undefined) return;
    for (const above of path) {
      const outer = this.#queries.get(above);
      if (outer !== undefined && outer !== inner) outer.asks.add(inner);
    }
  }

  /** A cached query has read what it reads. */
  loaded(id: string, tags: readonly string[]): void {
    const query = this.#queries.get(id);
    if (query === undefined) return;
    for (const tag of tags) query.families.add(familyOf(tag));
    for (const table of tablesOf(query))
      for (const [writer, tables] of this.#writers)
        for (const families of tables.get(table)?.values() ?? [])
          this.#compare(query, writer, table, families);
  }

  /** A transaction of `writer` is about to commit, and invalidates these. */
  committing(writer: string, context: RequestContext, tags: readonly string[]): void {
    const written = this.#written.get(context);
    if (written === undefined) return;
    const families = new Set(tags.map(familyOf));
    for (const table of written) {
      this.#remember(writer, table, families);
      for (const query of this.#queries.values())
        if (tablesOf(query).has(table)) this.#compare(query, writer, table, families);
    }
  }

  #remember(writer: string, table: string, families: ReadonlySet<string>): void {
    let tables = this.#writers.get(writer);
    if (tables === undefined) this.#writers.set(writer, (tables = new Map()));
    let variants = tables.get(table);
    if (variants === undefined) tables.set(table, (variants = new Map()));
    if (variants.size < mostVariants) variants.set([...families].toSorted().join('\0'), families);
  }

  #compare(query: ReadQuery, writer: string, table: string, families: ReadonlySet<string>): void {
    if (query.unaffectedBy.has(writer) || query.families.size === 0) return;
    if ([...query.families].some((family) => families.has(family))) return;
    const tags = [...query.families];
    const key = `${query.id}\0${writer}\0${table}`;
    const isNew = !this.#found.has(key);
    this.#found.set(key, { query: query.id, writer, table, tags });
    if (!this.#refuse && !isNew) return;
    const error = new PlimsollError(
      'PL_MISSED_INVALIDATION',
      `${writer} wrote ${table}, which the cached query ${query.id} reads, and invalidated none of its tags (${tags.join(', ')}): it would be answered with what was there before for up to its ttlMs; \`invalidate\` the tag in ${writer}, or list it in \`unaffectedBy\` of the query's policy`,
      { data: { query: query.id, writer, table } },
    );
    if (this.#refuse) throw error;
    background.publish({ scope: this.#scope, what: `cache of ${query.id}`, error });
  }
}

function familyOf(tag: string): string {
  const colon = tag.indexOf(':');
  return colon === -1 ? tag : tag.slice(0, colon);
}

function tablesOf(query: ReadQuery, among = new Set<ReadQuery>()): ReadonlySet<string> {
  if (query.asks.size === 0) return query.tables;
  // Two queries may ask each other.
  among.add(query);
  const inner = [...query.asks].filter((asked) => !among.has(asked));
  return new Set([...query.tables, ...inner.flatMap((asked) => [...tablesOf(asked, among)])]);
}
