import type { FastifyUnderPressureOptions } from '@fastify/under-pressure';

/** What stands before the routes of one server; it goes to the server's process as JSON. */
export type Protection =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'under-pressure';
      readonly options: Pick<
        FastifyUnderPressureOptions,
        'maxEventLoopDelay' | 'maxEventLoopUtilization' | 'eventLoopUtilizationMode' | 'sampleInterval'
      >;
    }
  | { readonly kind: 'plimsoll' };

export interface Subject {
  readonly name: string;
  readonly setting: string;
  readonly protection: Protection;
}

export const unprotected: Subject = {
  name: 'none',
  setting: 'Fastify alone',
  protection: { kind: 'none' },
};

export const subjects: readonly Subject[] = [
  unprotected,
  {
    name: 'under-pressure, README',
    setting:
      'maxEventLoopDelay 1000, maxEventLoopUtilization 0.98, as in the example of its README, since by default every limit is off. Left out: its memory limits of 100 MB, which a process of this size is near to without any load',
    protection: {
      kind: 'under-pressure',
      options: { maxEventLoopDelay: 1_000, maxEventLoopUtilization: 0.98 },
    },
  },
  {
    name: 'under-pressure, best found',
    setting:
      'maxEventLoopDelay 100, sampleInterval 50: the best at the CPU-bound workload of those that bench/overload/search.ts tries',
    protection: { kind: 'under-pressure', options: { maxEventLoopDelay: 100, sampleInterval: 50 } },
  },
  {
    name: 'plimsoll',
    setting: "shedFastify(createShedder({ name: 'edge' })), nothing else said",
    protection: { kind: 'plimsoll' },
  },
];
