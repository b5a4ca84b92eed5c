import { judge } from '../mutants/judge.ts';
import { mutants } from './mutants.ts';
import { schedules } from './schedules.ts';

judge({ script: new URL('./run-all.ts', import.meta.url), mutants, schedules });
