import { PlimsollError } from '../kernel/errors.ts';
import type { BoundaryFindings } from './check.ts';
import type { Violation } from './violation.ts';

/** A violation that was there when the file was written; without its line, which moves. */
export type Recorded = Pick<Violation, 'layer' | 'where' | 'what'>;

export interface RatchetOutcome {
  /** Not in the file. */
  readonly fresh: readonly Violation[];
  /** In the file and still there. */
  readonly recorded: number;
  /** In the file and no longer there: take them out, so that they do not come back. */
  readonly stale: readonly Recorded[];
}

const layers: readonly string[] = ['imports', 'uses', 'catalog'] satisfies readonly Violation['layer'][];

const keyOf = ({ layer, where, what }: Recorded): string => JSON.stringify([layer, where, what]);

/** Compares findings with the file. What belongs to a layer that was not checked is neither fresh nor stale. */
export function compareWithTodo(findings: BoundaryFindings, todo: readonly Recorded[]): RatchetOutcome {
  const accepted = new Set(todo.map(keyOf));
  const present = new Set(findings.violations.map(keyOf));
  const stale = todo.filter((entry) => wasChecked(findings, entry) && !present.has(keyOf(entry)));
  return {
    fresh: findings.violations.filter((violation) => !accepted.has(keyOf(violation))),
    recorded: [...accepted].filter((key) => present.has(key)).length,
    stale,
  };
}

/** The file for today's violations; entries of a layer that was not checked stay. */
export function writeTodo(findings: BoundaryFindings, todo: readonly Recorded[]): string {
  const kept = todo.filter((entry) => !wasChecked(findings, entry));
  const entries = new Map(
    [...kept, ...findings.violations].map(({ layer, where, what }) => [
      keyOf({ layer, where, what }),
      { layer, where, what },
    ]),
  );
  const sorted = [...entries].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([, entry]) => entry);
  return `${JSON.stringify(sorted, undefined, 2)}\n`;
}

/** PL_CONFIG for a text that is no such file. */
export function readTodo(text: string, file: string): readonly Recorded[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new PlimsollError(
      'PL_CONFIG',
      `${file} is not JSON; write it with plimsoll check boundaries --update`,
      {
        cause: error,
      },
    );
  }
  if (!Array.isArray(value) || !value.every(isRecorded))
    throw new PlimsollError(
      'PL_CONFIG',
      `${file} must be a list of { layer, where, what } with layer ${layers.join(', ')}; write it with plimsoll check boundaries --update`,
    );
  return value;
}

function isRecorded(value: unknown): value is Recorded {
  if (typeof value !== 'object' || value === null) return false;
  const { layer, where, what } = value as Readonly<Record<string, unknown>>;
  return (
    typeof layer === 'string' &&
    layers.includes(layer) &&
    typeof where === 'string' &&
    typeof what === 'string'
  );
}

function wasChecked(findings: BoundaryFindings, { layer }: Recorded): boolean {
  return layer !== 'catalog' || findings.objects !== undefined;
}
