import { plan, route } from 'plimsoll';
import { notes } from './modules/notes/contract.ts';
import { notesModule } from './modules/notes/module.ts';

/** Which modules run, under which routes, with what limits, and what must hold. */
export default plan({
  name: 'my-app',
  modules: [notesModule],
  http: {
    port: 3000,
    routes: [route('/notes', notes.write, { status: 201 }), route('/notes', notes.recent)],
  },
  // Without DATABASE_URL an embedded PostgreSQL is started, with this many replicas.
  database: { embeddedReplicas: 1 },
  expectedPeak: { requestsPerSecond: 50 },
  objectives: { default: { p95Ms: 100, errorRate: 0.001 } },
});
