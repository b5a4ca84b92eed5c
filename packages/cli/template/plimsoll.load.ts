import type { Scenario } from '@plimsoll/cli/load';

/** What `npm run load` sends: a visitor reads ten times and writes once. */
const scenario: Scenario = {
  name: 'readers and a writer',
  requestsPerSession: 11,
  session: (index) => [
    ...Array.from({ length: 10 }, (_, read) => ({
      operation: 'notes.recent',
      method: 'GET' as const,
      path: '/notes?limit=10',
      afterMs: read * 50,
    })),
    {
      operation: 'notes.write',
      method: 'POST' as const,
      path: '/notes',
      body: JSON.stringify({ text: `note of visitor ${index}` }),
      afterMs: 500,
    },
  ],
};

export default scenario;
