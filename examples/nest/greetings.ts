// One module of Plimsoll, for a NestJS site that is there already.
import { command, contract, module, plan, query, type Plan } from 'plimsoll';
import { z } from 'zod';

export const greetings = contract('greetings', {
  greet: query({ input: z.object({ name: z.string() }), output: z.object({ text: z.string() }) }),
  order: command({
    input: z.object({ name: z.string() }),
    output: z.object({ name: z.string(), key: z.string(), by: z.string().optional() }),
    errors: { Taken: z.object({ name: z.string() }) },
  }),
});

const greetingsModule = module(greetings, {
  owns: { schema: 'greetings' },
  commands: {
    order: async ({ name }, { key, caller, fail }) =>
      name === 'ada' ? fail('Taken', { name }) : { name, key, by: caller.principal },
  },
  queries: { greet: async ({ name }) => ({ text: `hello ${name}` }) },
});

export const greetingsPlan: Plan = plan({
  name: 'greetings',
  modules: [greetingsModule],
  expectedPeak: { requestsPerSecond: 20 },
  objectives: { default: { p95Ms: 500, errorRate: 0.01 } },
});
