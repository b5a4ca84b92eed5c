import { judge } from './judge.ts';
import { mutants, schedules } from './runs.ts';

judge({ script: new URL('./run-all.ts', import.meta.url), mutants, schedules });
