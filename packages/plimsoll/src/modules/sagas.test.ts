import { expect, test } from 'vitest';
import { z } from 'zod';
import { saga } from '../saga/saga.ts';
import { command, contract } from './contract.ts';
import { module } from './module.ts';
import { createRegistry } from './registry.ts';

const input = z.object({});
const near = contract('near', { go: command({ input }) });
const far = contract('far', { go: command({ input }) });
const farModule = module(far, { owns: { schema: 'far' }, commands: { async go() {} } });
const body = async (): Promise<void> => {};

test('every problem of the sagas of modules is told at once', () => {
  const one = saga({ input, uses: [near] }, body);
  const foreign = saga({ input, uses: [far] }, body);
  const nearModule = module(near, {
    owns: { schema: 'near' },
    commands: { async go() {} },
    sagas: { one, again: one, go: saga({ input, uses: [near] }, body), foreign: foreign as never },
  });
  expect(() => createRegistry([nearModule, farModule])).toThrowError(
    expect.objectContaining({
      code: 'PL_CONFIG',
      data: {
        problems: [
          { path: 'modules.near.sagas.again', message: expect.stringContaining('is listed already') },
          { path: 'modules.near.sagas.go', message: expect.stringContaining('is taken by an operation') },
          {
            path: 'modules.near.sagas.foreign',
            message: expect.stringContaining('uses far, which is not in uses'),
          },
        ],
      },
    }),
  );
});

test('versions of a saga are whole numbers, each once, none newer than the saga', () => {
  const first = saga({ version: 1, input, uses: [] }, body);
  const second = saga({ version: 2, input, uses: [], previous: [first] }, body);
  expect([...second.versions.keys()]).toEqual([1, 2]);
  expect(() => saga({ version: 0.5, input, uses: [] }, body)).toThrow('must be a whole number from 1');
  expect(() => saga({ version: 1, input, uses: [], previous: [first] }, body)).toThrow(
    'version 1 is there twice',
  );
  expect(() => saga({ version: 1, input, uses: [], previous: [second] }, body)).toThrow(
    'version 2 is not older than version 1',
  );
});
