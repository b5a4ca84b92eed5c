import { enqueueing } from './enqueueing.ts';
import type { JobDriverCase } from './harness.ts';
import { operating } from './operating.ts';
import { outcomes } from './outcomes.ts';
import { working } from './working.ts';

/** What every driver of jobs must do, whatever keeps them. Each case uses names of its own; none cleans up. */
export const jobDriverCases: readonly JobDriverCase[] = [
  ...enqueueing,
  ...outcomes,
  ...operating,
  ...working,
];
