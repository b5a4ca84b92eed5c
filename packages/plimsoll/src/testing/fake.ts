import { PlimsollError } from '../kernel/errors.ts';
import { membersOf, type AnyContract } from '../modules/contract.ts';
import { module, type CommandHandlers, type Module, type QueryHandlers } from '../modules/module.ts';

/** Handlers for what a test needs of a contract; typed like those of its module. */
export type FakeHandlers<T extends AnyContract> = Partial<
  CommandHandlers<T, never> & QueryHandlers<T, never>
>;

type AnyHandlers = Readonly<Record<string, Module['commands'][string]>>;

/**
 * A module in the place of another one: implements the contract with the given handlers. Inputs and outputs
 * are validated by the contract, as they would be by the real one. An operation without a handler throws
 * PL_UNKNOWN_OPERATION when it is called.
 */
export function fake<const T extends AnyContract>(of: T, handlers: FakeHandlers<T> = {}): Module {
  const given = handlers as AnyHandlers;
  const own = (kind: 'command' | 'query'): AnyHandlers =>
    Object.fromEntries(
      membersOf(of)
        .filter((member) => member.kind === kind)
        .map(({ id }) => {
          const name = id.slice(of.$name.length + 1);
          return [name, given[name] ?? ((): Promise<never> => Promise.reject(notGiven(id, name)))];
        }),
    );
  const definition = {
    owns: { schema: `fake_${of.$name}` },
    commands: own('command'),
    queries: own('query'),
  };
  return (module as unknown as (of: AnyContract, definition: object) => Module)(of, definition);
}

function notGiven(id: string, name: string): PlimsollError {
  return new PlimsollError(
    'PL_UNKNOWN_OPERATION',
    `the fake of ${id} has no handler; give one: fake(…, { ${name}: async (input) => … })`,
    { data: { operation: id } },
  );
}
