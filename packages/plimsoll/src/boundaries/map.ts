import { membersOf } from '../modules/contract.ts';
import type { Module } from '../modules/module.ts';
import type { CatalogRelation } from './catalog.ts';

export interface MapOptions {
  /** Of the app. */
  readonly name: string;
  readonly modules: readonly Module[];
  /** Of a migrated database; without them only listed tables are shown. */
  readonly relations?: readonly CatalogRelation[];
}

/** A page of Markdown with a Mermaid diagram: modules with their tables, who uses whom, which event sets off what. */
export function renderMap({ name, modules, relations = [] }: MapOptions): string {
  const lines = ['flowchart LR'];
  for (const module of modules) {
    const tables = relations
      .filter((relation) => relation.isTable && module.ownsTable(relation.schema, relation.name))
      .map((relation) =>
        relation.schema === module.name ? relation.name : `${relation.schema}.${relation.name}`,
      );
    const shown = relations.length === 0 ? module.tables : tables;
    lines.push(`  ${id(module.name)}["${[`<b>${module.name}</b>`, ...shown].map(escaped).join('<br/>')}"]`);
  }
  for (const module of modules) {
    for (const used of [...module.uses].toSorted())
      if (used !== module.name) lines.push(`  ${id(module.name)} --> ${id(used)}`);
  }
  for (const module of modules) {
    const byEmitter = Map.groupBy(module.subscriptions, ({ event }) => event.contract);
    for (const [emitter, subscriptions] of byEmitter) {
      const labels = subscriptions.map(({ event, options }) => `${memberOf(event.id)} → ${options.name}`);
      lines.push(`  ${id(emitter)} -. "${labels.map(escaped).join('<br/>')}" .-> ${id(module.name)}`);
    }
  }
  const rows = modules.map((module) => {
    const of = (kind: string): string =>
      membersOf(module.contract)
        .filter((member) => member.kind === kind)
        .map((member) => `\`${memberOf(member.id)}\``)
        .join(', ');
    return `| ${module.name} | ${of('command')} | ${of('query')} | ${of('event')} |`;
  });
  return [
    `# Modules of ${name}`,
    '',
    'Written by `plimsoll check boundaries --map`. A line is `uses`, a dotted line an event and the subscription it sets off; in each module are its tables.',
    '',
    '```mermaid',
    ...lines,
    '```',
    '',
    '| module | commands | queries | events |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}

const memberOf = (memberId: string): string => memberId.slice(memberId.indexOf('.') + 1);
/** `end` and the like are words of Mermaid. */
const id = (module: string): string => `m_${module}`;
const escaped = (text: string): string => text.replaceAll('"', '#quot;');
