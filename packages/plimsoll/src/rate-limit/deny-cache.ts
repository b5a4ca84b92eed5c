import { waitMs } from './result.ts';
import type { StoreRule } from './rules.ts';
import type { Decision, Level } from './store.ts';

interface Denial {
  readonly untilMs: number;
  readonly resetAtMs: number;
  readonly used: number;
  readonly cost: number;
}

/** Denials of one rule that are remembered; each is of no use after `denyForMs`. */
const most = 10_000;

/**
 * What the shared store has denied, for as long as it must deny it again: points come back with time alone. So a
 * client that goes on costs the store nothing. Without deletes: a generation is dropped as a whole.
 */
export class DenyCache {
  readonly #rules: readonly StoreRule[];
  readonly #denyForMs: number;
  #young = new Map<string, Denial>();
  #old = new Map<string, Denial>();
  #bornMs = -Infinity;

  constructor(rules: readonly StoreRule[], denyForMs: number) {
    this.#rules = rules;
    this.#denyForMs = denyForMs;
  }

  /** The denial that the store would give too; undefined where it has to be asked. */
  find(keys: readonly (string | undefined)[], cost: number, nowMs: number): Decision | undefined {
    if (this.#young.size === 0 && this.#old.size === 0) return undefined;
    const levels: (Level | undefined)[] = [];
    let found = false;
    for (let index = 0; index < keys.length; index += 1) {
      const level = this.#levelOf(index, keys[index], cost, nowMs);
      if (level !== undefined) found = true;
      levels.push(level);
    }
    return found ? { allowed: false, levels } : undefined;
  }

  /** `askedMs` is when the store was asked, and so not later than its decision. */
  add(
    keys: readonly (string | undefined)[],
    cost: number,
    levels: Decision['levels'],
    askedMs: number,
  ): void {
    for (const [index, rule] of this.#rules.entries()) {
      const key = keys[index];
      const level = levels[index];
      if (key === undefined || level === undefined) continue;
      const retryAfterMs = waitMs(rule, level, cost);
      if (retryAfterMs === 0 || retryAfterMs === Infinity) continue;
      this.#turn(askedMs);
      this.#young.set(at(index, key), {
        untilMs: askedMs + Math.min(retryAfterMs, this.#denyForMs),
        resetAtMs: askedMs + level.resetMs,
        used: level.used,
        cost,
      });
    }
  }

  clear(): void {
    this.#young = new Map();
    this.#old = new Map();
  }

  #turn(nowMs: number): void {
    if (this.#young.size < most && nowMs - this.#bornMs < this.#denyForMs) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#bornMs = nowMs;
  }

  #levelOf(index: number, key: string | undefined, cost: number, nowMs: number): Level | undefined {
    if (key === undefined) return undefined;
    const place = at(index, key);
    const denial = this.#young.get(place) ?? this.#old.get(place);
    if (denial === undefined || nowMs >= denial.untilMs || cost < denial.cost) return undefined;
    const resetMs = denial.resetAtMs - nowMs;
    const rule = this.#rules[index];
    return { used: rule?.kind === 'rate' ? resetMs / rule.intervalMs : denial.used, resetMs };
  }
}

const at = (rule: number, key: string): string => `${rule}:${key}`;
