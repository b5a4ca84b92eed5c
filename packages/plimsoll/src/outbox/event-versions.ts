import { PlimsollError, type Problem } from '../kernel/errors.ts';
import type { RecordedEvent } from './events.ts';

/** By the version that they read; each gives the next one. */
export type Upcasters = Readonly<Record<number, (old: unknown) => unknown>>;

/** What of an event's declaration says how its versions are read. */
interface Versioned {
  readonly id: string;
  readonly version: number;
  readonly upcast: Upcasters;
}

/** What is wrong with the version of an event and the steps that lead to it. */
export function versionProblems(path: string, version: number, upcast: Upcasters): Problem[] {
  if (!Number.isInteger(version) || version < 1)
    return [{ path: `${path}.version`, message: `${version} must be a whole number from 1` }];
  const steps = Object.keys(upcast).map(Number);
  const problems: Problem[] = [];
  for (const step of steps) {
    if (!Number.isInteger(step) || step < 1 || step >= version)
      problems.push({
        path: `${path}.upcast.${step}`,
        message: `upcasts from version ${step}, but the event is at version ${version}`,
      });
  }
  const oldest = Math.min(...steps);
  for (let step = oldest; step < version; step += 1) {
    if (!steps.includes(step))
      problems.push({
        path: `${path}.upcast.${step}`,
        message: `is missing: an event of version ${oldest} cannot reach version ${version} without it`,
      });
  }
  return problems;
}

/**
 * The payload of a recorded event as its contract has it now, not yet validated: upcast step by step when
 * it was written by an older contract. Throws PL_EVENT_VERSION when it cannot be read here.
 */
export function payloadNow(event: Versioned, recorded: RecordedEvent): unknown {
  if (recorded.version > event.version) {
    throw new PlimsollError(
      'PL_EVENT_VERSION',
      `event ${recorded.id} is ${event.id} version ${recorded.version}, but this process knows it up to version ${event.version}; it will be tried again, by a newer process if there is one`,
      { data: { event: event.id, version: recorded.version, known: event.version } },
    );
  }
  let { payload } = recorded;
  for (let version = recorded.version; version < event.version; version += 1) {
    const step = event.upcast[version];
    if (step === undefined) {
      throw new PlimsollError(
        'PL_EVENT_VERSION',
        `event ${recorded.id} is ${event.id} version ${recorded.version}, and its contract has no upcast from version ${version}; add upcast: { ${version}: … }`,
        { data: { event: event.id, version: recorded.version, known: event.version } },
      );
    }
    try {
      payload = step(payload);
    } catch (error) {
      throw new PlimsollError(
        'PL_PAYLOAD_INVALID',
        `payload of ${event.id}, event ${recorded.id}: the upcast from version ${version} threw: ${String(error)}`,
        { cause: error, data: { event: event.id, version } },
      );
    }
  }
  return payload;
}
