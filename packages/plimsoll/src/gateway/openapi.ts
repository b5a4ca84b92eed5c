import { errorTable, type ErrorCode } from '../kernel/errors.ts';
import type { AnyOperation, ErrorSchemas, Schema } from '../modules/contract.ts';
import { jsonSchemaOf, propertiesOf, rebase, type JsonSchema } from './json-schema.ts';
import { cachedHeaders, fixedComponents, jobPath, type OpenApiOperation } from './openapi-parts.ts';
import { parametersOf, shapeOf, templateOf } from './path-pattern.ts';
import { methodOf, successStatus, type Route } from './route.ts';

export interface OpenApiOptions {
  /** Default `API`. */
  readonly title?: string;
  /** Of the API, not of OpenAPI. Default `0`. */
  readonly version?: string;
}

/** An OpenAPI 3.1 document. Schemas in it are JSON Schema 2020-12. */
export interface OpenApiDocument {
  readonly openapi: '3.1.1';
  readonly info: { readonly title: string; readonly version: string };
  readonly servers: readonly { readonly url: string }[];
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, OpenApiOperation>>>>;
  readonly components: Readonly<Record<string, Readonly<Record<string, JsonSchema>>>>;
}

const json = (schema: JsonSchema): JsonSchema => ({ 'application/json': { schema } });
const problem = (schema: JsonSchema): JsonSchema => ({ 'application/problem+json': { schema } });
/** What only a command can be refused with. */
const codesOfCommands: readonly ErrorCode[] = [
  'PL_BODY_TOO_LARGE',
  'PL_UNSUPPORTED_MEDIA',
  'PL_IDEMPOTENCY_BUSY',
  'PL_IDEMPOTENCY_REUSED',
  'PL_IDEMPOTENCY_NOT_KEPT',
];
const anyProblem: JsonSchema = { $ref: '#/components/schemas/Problem' };

/** The document of these routes. Never throws for a schema that its library cannot describe. */
export function openApiDocument(routes: readonly Route[], options: OpenApiOptions = {}): OpenApiDocument {
  const schemas = new Map<string, JsonSchema>();
  const paths = new Map<string, Record<string, OpenApiOperation>>();
  const ids = new Set<string>();
  // Names of the path parameters by the shape of the path: `/a/{id}` and `/a/{key}` are one path in OpenAPI.
  const namesByShape = new Map<string, readonly string[]>();

  /** Puts a schema among the components, once, and refers to it. */
  function component(name: string, schema: () => JsonSchema): JsonSchema {
    const key = name.replaceAll(/[^\w.-]/g, (char) => `_x${char.codePointAt(0)?.toString(16)}_`);
    const home = `#/components/schemas/${key}`;
    if (!schemas.has(key)) schemas.set(key, rebase(schema(), home));
    return { $ref: home };
  }

  const inputOf = ({ id, input }: AnyOperation): JsonSchema =>
    component(`${id}.input`, () => jsonSchemaOf(input as Schema, 'input'));

  /** Path, query string and body of an operation, from its one input schema. */
  function requestOf(route: Route): Pick<OpenApiOperation, 'parameters' | 'requestBody'> {
    const { operation } = route;
    const whole = inputOf(operation);
    const home = whole['$ref'] as string;
    const raw = jsonSchemaOf(operation.input as Schema, 'input');
    const known = propertiesOf(raw);
    const names = parametersOf(route.path);
    const property = (name: string): JsonSchema =>
      rebase(known?.properties[name] ?? { type: 'string' }, home);
    const shown = namesByShape.get(shapeOf(route.path)) ?? names;
    const parameters: JsonSchema[] = names.map((name, index) => ({
      name: shown[index] ?? name,
      in: 'path',
      required: true,
      schema: property(name),
    }));
    const rest = Object.keys(known?.properties ?? {}).filter((name) => !names.includes(name));

    if (operation.kind === 'query') {
      for (const name of rest)
        parameters.push({
          name,
          in: 'query',
          required: known?.required.has(name) === true,
          schema: property(name),
        });
      // A union of inputs has no list of parameters; as an exploded form its members are the query string.
      if (known === undefined && names.length === 0)
        parameters.push({ name: 'input', in: 'query', style: 'form', explode: true, schema: whole });
      if (route.cache !== undefined) parameters.push({ $ref: '#/components/parameters/IfNoneMatch' });
      return { parameters };
    }
    const key = { $ref: '#/components/parameters/IdempotencyKey' };
    parameters.push(
      route.requiresKey === true ? { ...fixedComponents.parameters['IdempotencyKey'], required: true } : key,
    );
    if (known === undefined || names.length === 0)
      return { parameters, requestBody: { required: true, content: json(whole) } };
    if (rest.length === 0) return { parameters };
    const required = rest.filter((name) => known.required.has(name));
    const schema: JsonSchema = {
      type: 'object',
      properties: Object.fromEntries(rest.map((name) => [name, property(name)])),
      ...(required.length === 0 ? {} : { required }),
    };
    return { parameters, requestBody: { required: required.length > 0, content: json(schema) } };
  }

  function responsesOf(route: Route): Readonly<Record<string, JsonSchema>> {
    const { operation } = route;
    const success = String(successStatus(route));
    if (route.enqueue === true)
      return { [success]: { $ref: '#/components/responses/Accepted' }, ...refusals(new Map(), route) };
    const output = operation.output as Schema | undefined;
    const content =
      output === undefined
        ? {}
        : { content: json(component(`${operation.id}.output`, () => jsonSchemaOf(output, 'output'))) };
    const refused = refusals(declaredOf(route), route);
    if (route.cache === undefined) return { [success]: { description: 'Done.', ...content }, ...refused };
    return {
      [success]: { description: 'Done.', headers: cachedHeaders, ...content },
      '304': { $ref: '#/components/responses/NotModified' },
      ...refused,
    };
  }

  /** Declared errors of a route, as schemas of their problems, by status. */
  function declaredOf(route: Route): Map<string, JsonSchema[]> {
    const byStatus = new Map<string, JsonSchema[]>();
    if (route.operation.kind === 'query') return byStatus;
    for (const [name, schema] of Object.entries(route.operation.errors as ErrorSchemas)) {
      const status = route.errors?.[name] ?? 422;
      const id = `${route.operation.id}.errors.${name}`;
      const facts = component(`${id}.data`, () => jsonSchemaOf(schema, 'output'));
      const own = component(id, () => ({
        properties: {
          type: { const: `urn:plimsoll:operation:${route.operation.id}:${name}` },
          code: { const: name },
        },
        required: ['data'],
      }));
      const known = byStatus.get(String(status)) ?? [];
      known.push({ allOf: [anyProblem, own, { properties: { data: facts } }] });
      byStatus.set(String(status), known);
    }
    return byStatus;
  }

  function refusals(declared: Map<string, JsonSchema[]>, route: Route): Record<string, JsonSchema> {
    const codes: readonly ErrorCode[] = [
      'PL_INPUT_INVALID',
      ...(route.operation.kind === 'query' ? [] : codesOfCommands),
      ...(route.rateLimit === undefined ? [] : (['PL_RATE_LIMITED'] as const)),
      'PL_OVERLOADED',
      'PL_DEADLINE',
    ];
    const responses: Record<string, JsonSchema> = {};
    for (const [status, of] of declared) {
      const schema = of.length === 1 ? (of[0] ?? anyProblem) : { anyOf: of };
      responses[status] = { description: 'A failure that the operation declares.', content: problem(schema) };
    }
    for (const code of codes) {
      const { status, summary } = errorTable[code];
      const of = declared.get(String(status));
      responses[status] = {
        description: summary,
        content: problem(of === undefined ? anyProblem : { anyOf: [...of, anyProblem] }),
      };
    }
    responses['default'] = { description: 'Any other problem.', content: problem(anyProblem) };
    return responses;
  }

  for (const route of routes) {
    const shape = shapeOf(route.path);
    const names = namesByShape.get(shape) ?? parametersOf(route.path);
    namesByShape.set(shape, names);
    const path = templateOf(route.path, names);
    const { id, contract } = route.operation;
    let operationId = id;
    for (let again = 2; ids.has(operationId); again += 1) operationId = `${id}.${again}`;
    ids.add(operationId);
    const item = paths.get(path) ?? {};
    item[methodOf(route).toLowerCase()] = {
      operationId,
      summary: id,
      tags: [contract],
      ...requestOf(route),
      responses: responsesOf(route),
    };
    paths.set(path, item);
  }
  if (routes.some(({ enqueue }) => enqueue === true)) paths.set('/-/jobs/{jobId}', jobPath);

  return {
    openapi: '3.1.1',
    info: { title: options.title ?? 'API', version: options.version ?? '0' },
    servers: [{ url: '/' }],
    tags: [...new Set(routes.map(({ operation }) => operation.contract))].map((name) => ({ name })),
    paths: Object.fromEntries(paths),
    components: {
      ...fixedComponents,
      schemas: { ...fixedComponents.schemas, ...Object.fromEntries(schemas) },
    },
  };
}
