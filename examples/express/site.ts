// An Express site that keeps its own routes, and serves one module of Plimsoll beside them.
import express, { type Express } from 'express';
import { command, contract, createApp, currentContext, module, plan, query, route, type App } from 'plimsoll';
import { mountRoutes, plimsollContext } from 'plimsoll/express';
import { z } from 'zod';

const greetings = contract('greetings', {
  greet: query({ input: z.object({ name: z.string() }), output: z.object({ text: z.string() }) }),
  order: command({
    input: z.object({ name: z.string() }),
    output: z.object({ name: z.string(), key: z.string() }),
    errors: { Taken: z.object({ name: z.string() }) },
  }),
});

const greetingsModule = module(greetings, {
  owns: { schema: 'greetings' },
  commands: {
    order: async ({ name }, { key, fail }) => (name === 'ada' ? fail('Taken', { name }) : { name, key }),
  },
  queries: { greet: async ({ name }) => ({ text: `hello ${name}` }) },
});

export const greetingsPlan = plan({
  name: 'greetings',
  modules: [greetingsModule],
  http: {
    routes: [
      route('/greetings', greetings.order, { status: 201, errors: { Taken: 409 } }),
      route('/greetings/:name', greetings.greet),
    ],
  },
  expectedPeak: { requestsPerSecond: 20 },
  objectives: { default: { p95Ms: 500, errorRate: 0.01 } },
});

/** The app is started with `listen: false`: Express answers HTTP. */
export const createGreetings = (databaseUrl: string): App =>
  createApp(greetingsPlan, { databaseUrl, listen: false });

// #region site
export function createSite(app: App): Express {
  const site = express();
  site.use(plimsollContext({ app })); // first: the deadline counts from here
  site.use(express.json());

  site.get('/old', async (_request, response) => {
    // In any route of yours: calls, queries and events carry the correlation id, the deadline and the signal.
    const { text } = await app.call(greetings.greet, { name: 'old' });
    response.json({ text, correlationId: currentContext()?.correlationId });
  });

  const api = express.Router();
  mountRoutes(app, api, { routes: greetingsPlan.http.routes });
  site.use('/api', api);
  return site;
}
// #endregion
