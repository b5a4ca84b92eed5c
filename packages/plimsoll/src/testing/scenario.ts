import type { App } from '../app/app.ts';
import { sql } from '../database/sql.ts';
import { createContext, runInContext, type Caller } from '../kernel/context.ts';
import type { AnyEvent, AnyOperation, Input, Result } from '../modules/contract.ts';
import { untilIdle } from './until-idle.ts';

/** An event that was emitted during a scenario. */
export interface ScenarioEvent {
  readonly type: string;
  readonly version: number;
  readonly key: string | null;
  readonly payload: unknown;
  readonly correlationId: string;
  readonly causationId: string | null;
  readonly caller: Caller;
}

export interface ScenarioOutcome<Results extends readonly unknown[]> {
  /** What the calls gave, in their order. */
  readonly results: Results;
  /** Everything that was emitted since, in the order of the log. */
  readonly events: readonly ScenarioEvent[];
  /** Payloads of one event, in the order of the log, as they are written. */
  readonly emitted: <Ev extends AnyEvent>(event: Ev) => readonly Input<Ev['payload']>[];
}

export interface Scenario<Results extends readonly unknown[]> {
  /** Adds a call; they run one after the other. */
  call<Op extends AnyOperation>(
    operation: Op,
    input: Input<Op['input']>,
  ): Scenario<readonly [...Results, Result<Op>]>;
  /** Runs the calls, waits until all that they set off has happened, and tells what came of it. */
  untilIdle(options?: { readonly timeoutMs?: number }): Promise<ScenarioOutcome<Results>>;
}

/** Calls, then waits, then shows what happened. `caller` is who asks. */
export function scenario(app: App, options: { readonly caller?: Caller } = {}): Scenario<readonly []> {
  return scenarioOf<readonly []>(app, options.caller ?? {}, []);
}

type Step = readonly [operation: AnyOperation, input: unknown];

function scenarioOf<Results extends readonly unknown[]>(
  app: App,
  caller: Caller,
  steps: readonly Step[],
): Scenario<Results> {
  return {
    call: (operation, input) => scenarioOf(app, caller, [...steps, [operation, input]]),
    async untilIdle(options) {
      const { last } = await app.database.one<{ last: number }>(sql`
        select greatest((select max(id) from plimsoll.outbox), (select max(id) from plimsoll.event), 0) as last`);
      const results: unknown[] = [];
      for (const [operation, input] of steps)
        results.push(await runInContext(createContext({ caller }), () => app.call(operation, input)));
      await untilIdle(app, options);
      const events = await app.database.query<ScenarioEvent>(sql`
        select type, version, key, payload, correlation_id as "correlationId", causation_id as "causationId", caller
        from plimsoll.event where id > ${last} order by position`);
      return {
        results: results as unknown as Results,
        events,
        emitted: (event) =>
          events.filter(({ type }) => type === event.id).map(({ payload }) => payload as never),
      };
    },
  };
}
