import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf } from './errors.ts';
import { writeWhole } from './files.ts';

/** Kept beside the data: written last, once everything is up. */
export interface ClusterState {
  /** The ports of the last run by server name, taken again when they are free. */
  readonly ports: Readonly<Record<string, number>>;
}

const fileName = 'state.json';

export function parseState(text: string): ClusterState | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || !('ports' in value)) return undefined;
    if (typeof value.ports !== 'object' || value.ports === null) return undefined;
    const ports = Object.entries(value.ports).filter((entry): entry is [string, number] =>
      Number.isInteger(entry[1]),
    );
    return { ports: Object.fromEntries(ports) };
  } catch {
    return undefined;
  }
}

/** `undefined` when no start of this cluster has ever been completed. */
export function readState(directory: string): ClusterState | undefined {
  try {
    return parseState(readFileSync(join(directory, fileName), 'utf8'));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

export function writeState(directory: string, state: ClusterState): void {
  writeWhole(join(directory, fileName), `${JSON.stringify({ format: 1, ...state })}\n`);
}
