import type { MissedInvalidation } from './app-window.ts';
import type { CacheFinding } from './finding.ts';

/** The app has compared what its commands write with what its cached queries read. */
export function describeMissed({ query, writer, table, tags }: MissedInvalidation): CacheFinding {
  const [tag = query] = tags;
  return {
    rule: 'missed-invalidation',
    title: `${query} is cached, and ${writer} changes what it answers without telling the cache`,
    operations: [query, writer],
    table,
    evidence: [
      `${writer} has written ${table}, which ${query} reads`,
      `of the tags of ${query} (${tags.join(', ')}) it has invalidated none: who asks gets the old answer until its ttlMs is over`,
    ],
    fix: {
      text: `in ${writer}, invalidate the tag of what it changes; or, where it changes nothing of the answer, list it in \`unaffectedBy\` of the policy of ${query}`,
      code: `invalidate(\`${tag}:\${…}\`)`,
    },
    verify: 'plimsoll doctor',
  };
}
