import { createShopScenario } from './traffic/scenario.ts';

/** What `plimsoll load` sends: visits of real customers, in the real arrival pattern. */
export default await createShopScenario();
