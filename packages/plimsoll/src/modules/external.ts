import type { Database } from '../database/database.ts';
import { sql, type Sql } from '../database/sql.ts';
import { createContext, remainingMs, runInContext, type RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { jsonCopy } from '../kernel/json-copy.ts';

/** How long an effect without a deadline may be under way before another may begin it again. */
const defaultBusyMs = 60_000;

type Effect = (signal: AbortSignal, key: string) => Promise<unknown>;

interface Begun {
  readonly scope: string;
  readonly key: string;
  readonly attempt: number;
}

/**
 * The outside effects of one handler. The intent is committed before the effect, so that whoever comes after
 * a crash knows of it; the result is written by the handler's transaction. Between the two the effect may
 * be repeated, always with the same key.
 */
export class ExternalEffects {
  readonly #database: Database;
  readonly #context: RequestContext;
  /** By scope and key; the same effect asked for twice in one handler is one. */
  readonly #asked = new Map<string, Promise<unknown>>();
  /** Filled as effects end, for the handler's transaction to record. */
  readonly #ended: (Begun & { readonly value: unknown })[] = [];
  /** Set when the handler's transaction has failed: what ends later is given back, not recorded. */
  #abandoned = false;

  constructor(database: Database, context: RequestContext) {
    this.#database = database;
    this.#context = context;
  }

  perform(name: string, key: string, signal: AbortSignal, effect: Effect): Promise<unknown> {
    const scope = `${this.#context.operation ?? 'command'}/${name}`;
    const stableKey = `${scope}/${key}`;
    const known = this.#asked.get(stableKey);
    if (known !== undefined) return known;
    const asked = this.#perform(scope, key, () => effect(signal, stableKey));
    this.#asked.set(stableKey, asked);
    return asked;
  }

  async #perform(scope: string, key: string, effect: () => Promise<unknown>): Promise<unknown> {
    const attempt = await this.#begin(scope, key);
    if (typeof attempt !== 'number') return attempt.value;
    const begun: Begun = { scope, key, attempt };
    try {
      // What is told now is what will be told after a crash: the value as it is recorded.
      const value = jsonCopy(await effect(), `result of the external effect ${scope}`);
      this.#ended.push({ ...begun, value });
      if (this.#abandoned) await this.#giveBack([begun]);
      return value;
    } catch (error) {
      await this.#giveBack([begun]);
      throw error;
    }
  }

  /** The attempt that this is, or what was recorded when the effect was done before. */
  async #begin(scope: string, key: string): Promise<number | { readonly value?: unknown }> {
    const leftMs = remainingMs(this.#context);
    const busyMs = leftMs === Infinity ? defaultBusyMs : leftMs;
    const begun = await this.#database.maybeOne<{ attempt: number }>(sql`
      insert into plimsoll.external as known (scope, key, busy_until)
      values (${scope}, ${key}, now() + ${busyMs}::float8 * interval '1 millisecond')
      on conflict (scope, key) do update set attempt = known.attempt + 1, busy_until = excluded.busy_until
      where known.state = 'intent' and known.busy_until <= now()
      returning attempt`);
    if (begun !== undefined) return begun.attempt;
    const { result, busyUntil } = await this.#database.one<{
      result: { readonly value?: unknown } | null;
      busyUntil: string;
    }>(sql`
      select result, to_json(busy_until)#>>'{}' as "busyUntil" from plimsoll.external
      where scope = ${scope} and key = ${key}`);
    if (result !== null) return result;
    throw new PlimsollError(
      'PL_EXTERNAL_BUSY',
      `the external effect ${scope} ${JSON.stringify(key)} is under way elsewhere, or its process died; from ${busyUntil} on it can be begun again`,
      { data: { scope, key, busyUntil } },
    );
  }

  /** What the handler's transaction has to write; undefined when there is nothing. */
  recording(): Sql | undefined {
    if (this.#ended.length === 0) return undefined;
    const ended = this.#ended.map(({ scope, key, value }) => ({ scope, key, result: { value } }));
    return sql`
      update plimsoll.external known set state = 'done', result = ended->'result', done_at = now()
      from jsonb_array_elements(${sql.json(ended)}) ended
      where known.scope = ended->>'scope' and known.key = ended->>'key'`;
  }

  /** The handler's transaction was rolled back: the next attempt may begin the effects again at once. */
  async abandon(): Promise<void> {
    this.#abandoned = true;
    await this.#giveBack(this.#ended);
  }

  async #giveBack(effects: readonly Begun[]): Promise<void> {
    if (effects.length === 0) return;
    const given = effects.map(({ scope, key, attempt }) => ({ scope, key, attempt }));
    // In a context of its own, for that of the handler may have ended. When it fails, time gives them back.
    await runInContext(createContext({ correlationId: this.#context.correlationId }), () =>
      this.#database.execute(sql`
        update plimsoll.external known set busy_until = now()
        from jsonb_array_elements(${sql.json(given)}) given
        where known.scope = given->>'scope' and known.key = given->>'key'
          and known.attempt = (given->>'attempt')::int and known.state = 'intent'`),
    ).catch(() => undefined);
  }
}
