export interface Edge {
  readonly specifier: string;
  readonly line: number;
  /** The file that the specifier means. */
  readonly target: string;
}

export interface Cycle {
  readonly file: string;
  /** The import that closes the cycle. */
  readonly edge: Edge;
  /** From the imported file back to itself. */
  readonly trail: readonly string[];
}

/** One entry for each import that closes a cycle; none is returned exactly when the graph has no cycle. */
export function findCycles(graph: ReadonlyMap<string, readonly Edge[]>): Cycle[] {
  const found: Cycle[] = [];
  const done = new Set<string>();
  const walk = (file: string, trail: readonly string[]): void => {
    for (const edge of graph.get(file) ?? []) {
      const { target } = edge;
      const start = trail.indexOf(target);
      if (start !== -1) found.push({ file, edge, trail: [...trail.slice(start), target] });
      else if (!done.has(target)) walk(target, [...trail, target]);
    }
    done.add(file);
  };
  for (const file of graph.keys()) if (!done.has(file)) walk(file, [file]);
  return found;
}
