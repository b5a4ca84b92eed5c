import type { Lsn } from '../../kernel/seen.ts';

interface Sighting {
  readonly atMs: number;
  readonly position: Lsn;
}

/** Enough for a minute of polls, and for a few seconds of many commits, which are thinned out. */
const most = 1_024;
const thinMs = 5;

/**
 * When the primary was seen at which position, by this process's own monotonic clock. So lag needs no clock of any
 * server, and a primary that writes nothing makes no replica look late.
 */
export class LagRing {
  /** Oldest first; positions and times only grow. */
  #sightings: Sighting[] = [];
  /** When the newest position was last seen to be still the newest. */
  #confirmedAtMs = -Infinity;

  get newest(): Lsn {
    return this.#sightings.at(-1)?.position ?? 0n;
  }

  /** `atMs`: when the question was sent, so that the position was reached no earlier. */
  note(atMs: number, position: Lsn): void {
    const last = this.#sightings.at(-1);
    if (last === undefined) this.#sightings.push({ atMs, position });
    else if (position < last.position) return;
    else if (position === last.position) this.#confirmedAtMs = Math.max(this.#confirmedAtMs, atMs);
    else {
      this.#confirmedAtMs = -Infinity;
      // The earlier time is kept: a lag is rather said too long than too short.
      const close = atMs - last.atMs < thinMs;
      if (close) this.#sightings.pop();
      this.#sightings.push({ atMs: close ? last.atMs : atMs, position });
      if (this.#sightings.length > most) this.#sightings.splice(0, most / 4);
    }
  }

  /** Positions of another history say nothing. */
  clear(): void {
    this.#sightings = [];
    this.#confirmedAtMs = -Infinity;
  }

  /** How far behind in time whoever has reached `position` is known to be; 0 when nothing newer was seen. */
  lagMs(position: Lsn, nowMs: number): number {
    const missing = this.#firstPast(position);
    return missing === undefined ? 0 : nowMs - missing.atMs;
  }

  /** How old at most what is read there is; Infinity when nothing it has reached was seen. */
  stalenessMs(position: Lsn, nowMs: number): number {
    const last = this.#sightings.at(-1);
    if (last === undefined) return Infinity;
    if (position >= last.position) return nowMs - Math.max(last.atMs, this.#confirmedAtMs);
    const reached = this.#sightings.findLast((sighting) => sighting.position <= position);
    return reached === undefined ? Infinity : nowMs - reached.atMs;
  }

  /** How long ago the primary was first seen at or past the position; 0 when it was not. */
  ageMs(position: Lsn, nowMs: number): number {
    const first = this.#sightings.find((sighting) => sighting.position >= position);
    return first === undefined ? 0 : nowMs - first.atMs;
  }

  #firstPast(position: Lsn): Sighting | undefined {
    // From the end: a replica that is well lacks the last few at most.
    let first: Sighting | undefined;
    for (let index = this.#sightings.length - 1; index >= 0; index -= 1) {
      const sighting = this.#sightings[index];
      if (sighting === undefined || sighting.position <= position) break;
      first = sighting;
    }
    return first;
  }
}
