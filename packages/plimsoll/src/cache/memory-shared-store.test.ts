import { describe, test } from 'vitest';
import { memorySharedStore } from './memory-shared-store.ts';
import { sharedStoreSuite } from './store-suite.ts';

describe('as every store', () => {
  test.for(sharedStoreSuite)('$name', (each) => each.run(memorySharedStore()));
});
