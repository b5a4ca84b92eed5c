import type { Schema } from '../modules/contract.ts';

export type JsonSchema = Readonly<Record<string, unknown>>;
type Side = 'input' | 'output';
/** Standard JSON Schema: what a schema may offer beside Standard Schema. */
type Converter = Readonly<Record<Side, (options: Readonly<Record<string, unknown>>) => JsonSchema>>;

const target = 'draft-2020-12';
/** Keywords whose values are schemas by name, so that a name is never taken for a keyword. */
const named = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas']);
/** Keywords whose values are data. */
const data = new Set(['const', 'enum', 'default', 'examples', 'required', 'dependentRequired']);

/**
 * JSON Schema of a schema, by Standard JSON Schema. What a library cannot tell is the schema of anything,
 * with a note: a document that knows less is better than none.
 */
export function jsonSchemaOf(schema: Schema, side: Side): JsonSchema {
  const standard = schema['~standard'] as Schema['~standard'] & { readonly jsonSchema?: Converter };
  const convert = standard.jsonSchema?.[side];
  if (typeof convert !== 'function') return untold(standard.vendor);
  // zod describes a date or a transform as anything when asked to; a library without the option ignores it.
  for (const options of [{ target, libraryOptions: { unrepresentable: 'any' } }, { target }]) {
    try {
      const { $schema: _dialect, ...rest } = convert(options);
      return rest;
    } catch {
      // The next options, or the note.
    }
  }
  return untold(standard.vendor);
}

function untold(vendor: string): JsonSchema {
  return { description: `The schema library ${vendor} gives no JSON Schema for this; see the contract.` };
}

/** The schema with its own references (`#`, `#/$defs/…`) pointing into `home`, where it is put in a document. */
export function rebase(schema: JsonSchema, home: string): JsonSchema {
  return Object.fromEntries(
    Object.entries(schema).map(([keyword, value]) => {
      if (keyword === '$ref' && typeof value === 'string')
        return [keyword, value.startsWith('#') ? `${home}${value.slice(1)}` : value];
      if (data.has(keyword)) return [keyword, value];
      if (named.has(keyword) && isObject(value))
        return [
          keyword,
          Object.fromEntries(Object.entries(value).map(([name, of]) => [name, rebaseValue(of, home)])),
        ];
      return [keyword, rebaseValue(value, home)];
    }),
  );
}

function rebaseValue(value: unknown, home: string): unknown {
  if (Array.isArray(value)) return value.map((item) => rebaseValue(item, home));
  return isObject(value) ? rebase(value, home) : value;
}

function isObject(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Properties of an object schema and which of them must be there; undefined when it is not plainly an object. */
export function propertiesOf(
  schema: JsonSchema,
):
  | { readonly properties: Readonly<Record<string, JsonSchema>>; readonly required: ReadonlySet<string> }
  | undefined {
  const local =
    typeof schema['$ref'] === 'string' ? /^#\/\$defs\/([^/]+)$/.exec(schema['$ref'])?.[1] : undefined;
  if (local !== undefined) {
    const definition = (schema['$defs'] as Readonly<Record<string, JsonSchema>> | undefined)?.[local];
    return definition === undefined ? undefined : propertiesOf(definition);
  }
  if (schema['type'] !== 'object' || !isObject(schema['properties'] ?? {})) return undefined;
  return {
    properties: (schema['properties'] ?? {}) as Readonly<Record<string, JsonSchema>>,
    required: new Set(schema['required'] as readonly string[] | undefined),
  };
}
