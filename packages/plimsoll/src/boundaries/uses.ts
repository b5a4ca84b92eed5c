import type { Module } from '../modules/module.ts';
import type { Violation } from './violation.ts';

/** Cycles of `uses`, each told once and from its alphabetically first module; without them there is none left. */
export function cyclesOfUses(modules: readonly Pick<Module, 'name' | 'uses'>[]): readonly Violation[] {
  const uses = new Map(modules.map((module) => [module.name, [...module.uses].toSorted()]));
  const found = new Map<string, readonly string[]>();
  const done = new Set<string>();

  const visit = (name: string, trail: readonly string[]): void => {
    const at = trail.indexOf(name);
    if (at !== -1) {
      const cycle = trail.slice(at);
      const first = cycle.indexOf(cycle.toSorted()[0] ?? name);
      const turned = [...cycle.slice(first), ...cycle.slice(0, first)];
      found.set(turned.join(' '), turned);
      return;
    }
    if (done.has(name)) return;
    for (const used of uses.get(name) ?? []) if (used !== name) visit(used, [...trail, name]);
    done.add(name);
  };
  for (const name of [...uses.keys()].toSorted()) visit(name, []);

  return [...found.values()].map((cycle) => ({
    layer: 'uses',
    where: `module ${cycle[0]}`,
    what: `uses ${[...cycle.slice(1), cycle[0]].join(', which uses ')}`,
    fix: 'let one of them react to an event or take what it needs as input, or merge them',
  }));
}
