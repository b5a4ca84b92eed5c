import { z } from 'zod';
import { command, contract, event } from '../../src/modules/contract.ts';
import { saga, type Run, type Saga } from '../../src/saga/saga.ts';

export const world = contract('world', {
  act: command({
    input: z.object({ name: z.string(), refuse: z.boolean() }),
    output: z.object({ name: z.string() }),
    errors: { Refused: z.object({ name: z.string() }) },
  }),
  undo: command({ input: z.object({ name: z.string() }) }),
  happened: event({ payload: z.object({ key: z.string() }), key: ({ key }) => key }),
});

/** What a saga of the tests does, as data. */
export type Op =
  | { readonly op: 'step'; readonly name: string; readonly refuse: boolean }
  | { readonly op: 'sleep'; readonly ms: number }
  | { readonly op: 'wait'; readonly key: string }
  | { readonly op: 'approval'; readonly name: string }
  | { readonly op: 'value' }
  | { readonly op: 'child'; readonly ops: readonly Op[] }
  | { readonly op: 'all'; readonly branches: readonly (readonly Op[])[] };

const ops = z.object({ ops: z.array(z.custom<Op>()) });

async function perform(run: Run<'world'>, program: readonly Op[]): Promise<void> {
  for (const op of program) {
    switch (op.op) {
      case 'step': {
        const { name, refuse } = op;
        const result = await run.step(
          'act',
          world.act,
          { name, refuse },
          {
            compensate: () => [world.undo, { name }],
          },
        );
        if (!result.ok) throw run.fail('Refused', { name });
        break;
      }
      case 'sleep':
        await run.sleep('rest', op.ms);
        break;
      case 'wait':
        await run.waitFor('hear', world.happened, { key: op.key });
        break;
      case 'approval':
        if ((await run.approval(op.name)).decision !== 'approved') throw run.fail('Rejected');
        break;
      case 'value':
        run.now();
        run.random();
        break;
      case 'child': {
        const ended = await run.child('child', program_, { ops: [...op.ops] });
        if (!ended.ok) throw run.fail('ChildFailed', ended.data);
        break;
      }
      case 'all':
        await run.all(
          Object.fromEntries(
            op.branches.map((branch, index) => [
              `b${index}`,
              (inner: Run<'world'>) => perform(inner, branch),
            ]),
          ),
        );
        break;
    }
  }
}

const program_: Saga<typeof ops, string, 'world'> = saga(
  { version: 1, input: ops, uses: [world] },
  async (run, input) => {
    await perform(run, input.ops);
    return 'performed';
  },
);
export { program_ as program };

/** Names of the steps of a program and of its children. */
export function stepsOf(list: readonly Op[]): readonly { readonly name: string; readonly refuse: boolean }[] {
  return list.flatMap((op) => {
    if (op.op === 'step') return [op];
    if (op.op === 'child') return stepsOf(op.ops);
    return op.op === 'all' ? op.branches.flatMap(stepsOf) : [];
  });
}

/** What it waits for from outside. */
export function waitsOf(list: readonly Op[]): readonly Extract<Op, { op: 'wait' | 'approval' }>[] {
  return list.flatMap((op) => {
    if (op.op === 'wait' || op.op === 'approval') return [op];
    if (op.op === 'child') return waitsOf(op.ops);
    return op.op === 'all' ? op.branches.flatMap(waitsOf) : [];
  });
}
