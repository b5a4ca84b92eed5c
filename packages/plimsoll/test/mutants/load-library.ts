import { readFileSync } from 'node:fs';
import { registerHooks, stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';
import { applyEdits, type Mutant } from './edit.ts';

const source = new URL('../../src/', import.meta.url).href;
/** Those that are being loaded, and the files of them that were edited. */
const loading = new Map<string, { readonly mutant: Mutant; readonly edited: Set<string> }>();
const loaded = new Map<string, Promise<unknown>>();
/** As it stands, without types: the same for all that do not edit it. */
const plain = new Map<string, string>();

/**
 * What `entry` exports of the library, with the edits of a mutant, beside all others in this process: what a module
 * imports has its query, so each mutant has modules of its own. Nothing is written to the disk.
 */
export function loadLibrary<Library>(entry: URL, mutant: Mutant | undefined): Promise<Library> {
  if (mutant === undefined) return import(entry.href) as Promise<Library>;
  const known = loaded.get(mutant.name) ?? load(entry, mutant);
  loaded.set(mutant.name, known);
  return known as Promise<Library>;
}

async function load(entry: URL, mutant: Mutant): Promise<unknown> {
  const { name, edits } = mutant;
  const edited = new Set<string>();
  loading.set(name, { mutant, edited });
  const library: unknown = await import(`${entry.href}?mutant=${encodeURIComponent(name)}`);
  for (const { file } of edits)
    if (!edited.has(file)) throw new Error(`mutant ${name}: ${file} is not loaded by ${entry.pathname}`);
  return library;
}

registerHooks({
  resolve(specifier, context, nextResolve) {
    const resolved = nextResolve(specifier, context);
    const query = context.parentURL === undefined ? '' : new URL(context.parentURL).search;
    const ours = query.startsWith('?mutant=') && resolved.url.startsWith(source);
    return ours ? { ...resolved, url: `${resolved.url}${query}` } : resolved;
  },
  load(url, context, nextLoad) {
    const { href, search, searchParams } = new URL(url);
    const name = searchParams.get('mutant');
    const one = name === null ? undefined : loading.get(name);
    if (one === undefined) return nextLoad(url, context);
    return { format: 'module', source: textOf(href.slice(0, -search.length), one), shortCircuit: true };
  },
});

function textOf(
  url: string,
  { mutant, edited }: { readonly mutant: Mutant; readonly edited: Set<string> },
): string {
  const file = url.slice(source.length);
  const edits = mutant.edits.filter((edit) => edit.file === file);
  if (edits.length > 0) {
    edited.add(file);
    return stripTypeScriptTypes(
      applyEdits(mutant.name, file, readFileSync(fileURLToPath(url), 'utf8'), edits),
    );
  }
  let text = plain.get(url);
  if (text === undefined)
    plain.set(url, (text = stripTypeScriptTypes(readFileSync(fileURLToPath(url), 'utf8'))));
  return text;
}
