import { EmbeddedError } from './errors.ts';
import { settingProblems } from './settings.ts';

export interface ClusterOptions {
  /** Streaming replicas, 0 to 8; default 1. */
  readonly replicas?: number;
  /** Kept between runs. Default: a temporary directory, removed when the cluster stops. */
  readonly dataDir?: string;
  /** Throw away what `dataDir` holds and begin with an empty database. Default false. */
  readonly fresh?: boolean;
  /** Of the primary. Default: the one of the last run when it is free, else any free port. */
  readonly port?: number;
  /** For `postgresql.conf` of all servers. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Told what a person would want to know: copies, repairs, servers that ended by themselves. */
  readonly log?: (line: string) => void;
}

const mostReplicas = 8;

/** Reports all problems at once. */
export function checkOptions(options: ClusterOptions): void {
  const { replicas = 1, port, dataDir, settings = {} } = options;
  const problems: string[] = [];
  if (!Number.isInteger(replicas) || replicas < 0 || replicas > mostReplicas)
    problems.push(`replicas is ${replicas} and must be a whole number from 0 to ${mostReplicas}.`);
  if (port !== undefined && (!Number.isInteger(port) || port < 1 || port > 65_535))
    problems.push(`port is ${port} and must be from 1 to 65535; leave it out to get a free one.`);
  if (dataDir !== undefined && dataDir.trim() === '')
    problems.push('dataDir is empty; pass a path, or leave it out for a temporary directory.');
  problems.push(...settingProblems(settings));
  if (problems.length > 0)
    throw new EmbeddedError('PL_EMBEDDED_OPTIONS', `startCluster: ${problems.join(' ')}`);
}
