import { createHash } from 'node:crypto';
import type { JsonSchema } from './json-schema.ts';
import type { OpenApiOperation } from './openapi-parts.ts';
import type { OpenApiDocument } from './openapi.ts';

const style = `
:root { color-scheme: light dark; --line: #8884; --quiet: #888; --get: #0a7d4f; --post: #2f5fd0; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem 1.25rem 4rem; }
h1 { margin: .5rem 0 0; } h2 { margin: 2rem 0 .5rem; } h3 { font-size: .95rem; margin: 1rem 0 .25rem; }
p.quiet, .quiet { color: var(--quiet); }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; }
summary { cursor: pointer; padding: .5rem .75rem; display: flex; gap: .75rem; align-items: baseline; flex-wrap: wrap; }
.body { border-top: 1px solid var(--line); padding: 0 .75rem .75rem; overflow-x: auto; }
.method { font-weight: 700; min-width: 3.2rem; } .get { color: var(--get); } .post { color: var(--post); }
code, pre { font: .875rem/1.45 ui-monospace, monospace; } pre { margin: .25rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }
a { color: inherit; }
`;

/** Of the page alone: no script, and no style but its own. */
export const docsPolicy: string = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The document as one page: no script, nothing loaded from anywhere. */
export function docsPage(document: OpenApiDocument): string {
  const { title, version } = document.info;
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
  );
  const sections = [...document.tags.map(({ name }) => name), undefined].map((tag) => {
    const own = operations.filter(({ operation }) => operation.tags[0] === tag);
    if (own.length === 0) return '';
    return `<h2>${text(tag ?? 'also')}</h2>${own.map((one) => operationSection(one)).join('')}`;
  });
  const schemas = Object.entries(document.components['schemas'] ?? {}).map(
    ([name, schema]) =>
      `<details id="schema-${text(name)}"><summary><code>${text(name)}</code></summary><div class="body">${schemaBlock(schema)}</div></details>`,
  );
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>${text(title)}</title><style>${style}</style></head><body>`,
    `<h1>${text(title)}</h1><p class="quiet">version ${text(version)}, ${operations.length} operations; `,
    `<a href="openapi.json">OpenAPI ${document.openapi}</a></p>`,
    ...sections,
    `<h2>Schemas</h2>${schemas.join('')}</body></html>`,
  ].join('');
}

function operationSection(one: {
  readonly path: string;
  readonly method: string;
  readonly operation: OpenApiOperation;
}): string {
  const { path, method, operation } = one;
  const parameters = operation.parameters.map((parameter) =>
    typeof parameter['$ref'] === 'string'
      ? `<tr><td colspan="3">${schemaLinks(JSON.stringify(parameter['$ref']))}</td></tr>`
      : `<tr><td><code>${text(parameter['name'])}</code></td><td class="quiet">${text(parameter['in'])}${parameter['required'] === true ? ', required' : ''}</td><td>${schemaBlock(parameter['schema'])}</td></tr>`,
  );
  const body = contentSchema(operation.requestBody);
  const responses = Object.entries(operation.responses).map(([status, response]) => {
    const schema = contentSchema(response);
    const shown = schema === undefined ? '' : schemaBlock(schema);
    return `<tr><td><code>${text(status)}</code></td><td>${text(response['description'] ?? '')}${shown}</td></tr>`;
  });
  return [
    `<details id="${text(operation.operationId)}"><summary>`,
    `<span class="method ${text(method)}">${text(method.toUpperCase())}</span><code>${text(path)}</code>`,
    `<span class="quiet">${text(operation.operationId)}</span></summary><div class="body">`,
    parameters.length === 0 ? '' : `<h3>Parameters</h3><table>${parameters.join('')}</table>`,
    body === undefined ? '' : `<h3>Body</h3>${schemaBlock(body)}`,
    `<h3>Answers</h3><table>${responses.join('')}</table></div></details>`,
  ].join('');
}

function contentSchema(of: JsonSchema | undefined): unknown {
  const content = of?.['content'] as Readonly<Record<string, { readonly schema?: unknown }>> | undefined;
  return content === undefined ? undefined : Object.values(content)[0]?.schema;
}

function schemaBlock(schema: unknown): string {
  return `<pre>${schemaLinks(JSON.stringify(schema ?? {}, undefined, 2))}</pre>`;
}

/** JSON with its references to schemas of the document as links. */
function schemaLinks(json: string): string {
  return text(json).replaceAll(
    /#\/components\/schemas\/([\w.-]+)/g,
    (all, name: string) => `<a href="#schema-${name}">${all}</a>`,
  );
}

/** Text for HTML, in an attribute too. */
function text(value: unknown): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return String(value).replaceAll(/[&<>"']/g, (char) => entities[char] ?? char);
}
