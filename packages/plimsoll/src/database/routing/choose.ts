import type { RouteReason } from '../../kernel/channels.ts';
import type { Lsn, Mark } from '../../kernel/seen.ts';
import { neededBy, needsPosition, type Consistency } from './consistency.ts';
import type { ReplicaState } from './replica-state.ts';

/** What a read asks for. */
export interface Need {
  readonly level: Consistency;
  /** What its reader has seen. */
  readonly mark: Mark | undefined;
  /** Whether what it shows is noted for later reads, so that it must be known which history shows it. */
  readonly noted: boolean;
  /** Whether a commit of the reader may have happened of which no position is known. */
  readonly unknown: boolean;
  /** For window reads: whether the reader wrote within the window. */
  readonly recent: boolean;
  /** A position of the primary from after the read was asked for: nobody can have seen more. */
  readonly atMost?: Lsn | undefined;
  /** The history that the primary writes; undefined until it was asked. */
  readonly epoch: string | undefined;
  /** For eventual reads: how old what they show may be. */
  readonly maxStalenessMs?: number | undefined;
}

/** What is known of a replica besides its state. */
export interface Load {
  readonly state: ReplicaState;
  /** Reads under way there. */
  readonly inFlight: number;
  /** Of late. */
  readonly durationMs: number;
  /** How old at most what it shows is, as far as is known. */
  readonly stalenessMs: number;
}

export type Choice =
  | { readonly to: 'replica'; readonly index: number; readonly reason: RouteReason; readonly need: Lsn }
  | {
      readonly to: 'primary';
      readonly reason: RouteReason;
      /** Asking the servers again may help. */
      readonly later: boolean;
      readonly need: Lsn;
      /** A replica that is late and otherwise well, for who does not mind. */
      readonly spare?: number | undefined;
    };

const primary = (reason: RouteReason, later = false, need = 0n, spare?: number): Choice => ({
  to: 'primary',
  reason,
  later,
  need,
  spare,
});

/** Where a read goes: of the replicas that may serve it the less busy of two taken at random, else the primary. */
export function choose(
  need: Need,
  replicas: readonly Load[],
  nowMs: number,
  random: () => number,
  except: ReadonlySet<number>,
): Choice {
  const { level, mark, epoch, maxStalenessMs, atMost } = need;
  if (level === 'strong') return primary('intent');
  if (level === 'window' && need.recent) return primary('window');
  if (needsPosition(level)) {
    if (need.unknown) return primary('unknown');
    if (need.noted && epoch === undefined) return primary('epoch', true);
    // A position of another history says nothing here.
    if (mark !== undefined && mark.epoch !== epoch) return primary('epoch');
  }
  const wanted = neededBy(level, mark);
  const position = atMost !== undefined && atMost < wanted ? atMost : wanted;
  const able: number[] = [];
  let spare: number | undefined;
  let well = 0;
  let late = 0;
  for (const [index, load] of replicas.entries()) {
    const { state } = load;
    if (state.out === undefined) well += 1;
    if (state.out === 'lag') late += 1;
    if (except.has(index) || (maxStalenessMs !== undefined && load.stalenessMs > maxStalenessMs)) continue;
    if (state.canServe(position)) able.push(index);
    else if (!needsPosition(level) && state.out === 'lag') {
      if (maxStalenessMs === undefined) spare = index;
      else able.push(index);
    }
  }
  if (able.length > 0) {
    const index = lessBusy(able, replicas, nowMs, random);
    return { to: 'replica', index, reason: position > 0n ? 'token' : 'intent', need: position };
  }
  if (well > 0) return primary(position > 0n ? 'token' : 'lag', true, position, spare);
  return primary(late > 0 ? 'lag' : 'no_replica', true, position, spare);
}

/** Power of two choices: all go neither to the one that was idle a moment ago, nor to the slow one. */
function lessBusy(
  among: readonly number[],
  replicas: readonly Load[],
  nowMs: number,
  random: () => number,
): number {
  const pick = (count: number): number => Math.min(count - 1, Math.floor(random() * count));
  const first = pick(among.length);
  let second = among.length > 1 ? pick(among.length - 1) : 0;
  if (among.length > 1 && second >= first) second += 1;
  const [one = 0, other = 0] = [among[first], among[second]];
  return cost(replicas[one], nowMs) <= cost(replicas[other], nowMs) ? one : other;
}

function cost(load: Load | undefined, nowMs: number): number {
  if (load === undefined) return Infinity;
  return ((load.inFlight + 1) * load.durationMs) / load.state.weight(nowMs);
}
