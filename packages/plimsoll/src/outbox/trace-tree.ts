/**
 * Something that happened, or is still to happen, because of something else. Ids: `request:<correlation id>`,
 * `event:<id>`, `event:<id>/<subscription>` for a delivery, with `/<replay>` when it was brought again, and
 * `job:<id>`; other parts have their own.
 */
export interface TraceFact {
  readonly id: string;
  /** The id of what set it off. */
  readonly cause: string;
  readonly kind: string;
  /** `orders.placed`, `shipping.ship` */
  readonly name: string;
  /** `logged`, `done`, `ready`, `parked`, … */
  readonly state: string;
  /** ISO 8601. Of a cause without a row of its own: that of its first effect, or null. */
  readonly at: string | null;
  /** What else there is to say of it. */
  readonly data: Readonly<Record<string, unknown>>;
}

export interface TraceNode extends TraceFact {
  /** What it set off, in the order of time. */
  readonly effects: readonly TraceNode[];
}

/**
 * The facts as trees, in the order of time: each fact is in exactly one place, under its cause. A cause that left no
 * fact of its own, such as a job that has ended, is put in by what its id tells; `root` names the outside request
 * that everything else hangs on.
 */
export function traceTree(
  facts: readonly TraceFact[],
  root: (fact: TraceFact) => string,
): readonly TraceNode[] {
  const known = new Map(facts.map((fact) => [fact.id, fact]));
  for (const fact of facts) {
    let below = fact;
    while (!known.has(below.cause)) {
      const missing = inferred(below.cause, root(fact), fact);
      known.set(missing.id, missing);
      if (missing.cause === missing.id) break;
      below = missing;
    }
  }
  const effects = Map.groupBy(
    [...known.values()].filter((fact) => fact.cause !== fact.id),
    ({ cause }) => cause,
  );
  const grow = (fact: TraceFact): TraceNode => {
    const grown = (effects.get(fact.id) ?? []).map(grow).toSorted(byTime);
    return { ...fact, at: fact.at ?? grown[0]?.at ?? null, effects: grown };
  };
  return [...known.values()]
    .filter((fact) => fact.cause === fact.id)
    .map(grow)
    .toSorted(byTime);
}

const byTime = (one: TraceFact, other: TraceFact): number =>
  (one.at ?? '').localeCompare(other.at ?? '') || one.id.localeCompare(other.id, 'en', { numeric: true });

/** What an id, and one of its effects, tell of a cause that nothing else is known of. */
function inferred(id: string, root: string, effect: TraceFact): TraceFact {
  const at = null;
  const [kind = '', ...rest] = id.split(':');
  const of = rest.join(':');
  if (kind === 'request') return { id, cause: id, kind, name: of, state: 'done', at, data: {} };
  if (kind === 'event' && of.includes('/')) {
    const [event = '', name = '', replay] = of.split('/');
    const data = replay === undefined ? {} : { replay: Number(replay) };
    return { id, cause: `event:${event}`, kind: 'delivery', name, state: 'done', at, data };
  }
  const by = effect.cause === id && effect.kind === 'event' ? effect.data['by'] : undefined;
  const name = typeof by === 'string' ? by : of;
  return { id, cause: root, kind, name, state: kind === 'job' ? 'done' : 'unknown', at, data: {} };
}
