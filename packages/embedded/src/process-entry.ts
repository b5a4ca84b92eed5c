/** A process id alone is recycled; with its start time it names one process of this boot. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startedAt: string;
}

export interface ProcessEntry extends ProcessIdentity {
  readonly parentPid: number;
  readonly command: string;
}
