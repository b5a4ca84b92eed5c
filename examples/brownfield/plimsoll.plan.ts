import { plan, route } from 'plimsoll';
import { points, pointsModule, shopModule } from './points.ts';
import { stockModule } from './stock.ts';

// #region plan
export default plan({
  name: 'site',
  modules: [shopModule, stockModule, pointsModule],
  http: { routes: [route('/points/:customerId', points.of)] },
  expectedPeak: { requestsPerSecond: 10 },
  objectives: { default: { p95Ms: 200, errorRate: 0.01 } },
});
// #endregion
