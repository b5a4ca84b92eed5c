import { Validator } from '@seriousme/openapi-schema-validator';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { command, contract, query } from '../modules/contract.ts';
import { createGateway, type Gateway } from './gateway.ts';
import { documentProblems } from './fixtures/document-problems.ts';
import { openApiDocument, type OpenApiDocument } from './openapi.ts';
import { route } from './route.ts';

const Tree = z.object({
  name: z.string(),
  get children() {
    return z.array(Tree);
  },
});
/** A schema of a library that knows Standard Schema only. */
const bare: StandardSchemaV1<string, string> = {
  '~standard': { version: 1, vendor: 'bare', validate: (value) => ({ value: value as string }) },
};
const throwing = {
  '~standard': {
    ...bare['~standard'],
    jsonSchema: {
      input: (): never => {
        throw new Error('cannot say');
      },
    },
  },
} as unknown as StandardSchemaV1;

const orders = contract('orders', {
  place: command({
    input: z.object({ sku: z.string(), $ref: z.string().optional(), at: z.date().optional() }),
    output: z.object({ id: z.string() }),
    errors: { OutOfStock: z.object({ left: z.number() }), 'odd/name': z.object({}), Late: z.object({}) },
  }),
  cancel: command({ input: z.object({ id: z.string() }) }),
  amend: command({ input: z.object({ id: z.uuid(), note: z.string(), urgent: z.boolean().default(false) }) }),
  ship: command({ input: z.object({ id: z.string() }), errors: { Gone: z.object({}) } }),
  list: query({
    input: z.object({ limit: z.coerce.number(), skus: z.array(z.string()).optional() }),
    output: z.array(Tree),
  }),
  tree: query({ input: z.object({ tree: Tree }), output: Tree }),
  search: query({ input: z.union([z.object({ a: z.string() }), z.object({ b: z.string() })]), output: bare }),
  foreign: command({ input: bare, output: throwing }),
});
const routes = [
  route('/orders', orders.place, { status: 201, errors: { OutOfStock: 409, 'odd/name': 409, Late: 400 } }),
  route('/orders', orders.list),
  route('/orders/:id/cancel', orders.cancel),
  route('/orders/:id', orders.amend),
  route('/orders/:tree', orders.tree),
  route('/orders/:id/ship', orders.ship, { enqueue: true }),
  route('/find', orders.search),
  route('/foreign', orders.foreign),
  route('/kept', orders.tree, { cache: { ttlMs: 60_000, tags: ['orders'] } }),
  route('/again/:sku(^[a-z]{2,3}$)', orders.place),
];
const running: Gateway[] = [];

afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(running.splice(0).map((gateway) => gateway.stop()));
});

async function start(openapi?: { expose?: boolean; title?: string; version?: string }): Promise<Gateway> {
  const gateway = createGateway({
    scope: {},
    port: 0,
    routes,
    call: () => Promise.resolve({}),
    ready: () => Promise.resolve(),
    enqueue: () => Promise.resolve('job'),
    ...(openapi === undefined ? {} : { openapi }),
  });
  running.push(gateway);
  await gateway.start();
  return gateway;
}

describe('the document', () => {
  const document = openApiDocument(routes, { title: 'orders', version: '3' });
  const { paths } = document;

  test('is sound: references resolve, ids are unique, required members are there', () => {
    expect(documentProblems(document)).toEqual([]);
    expect(document).toMatchObject({ openapi: '3.1.1', info: { title: 'orders', version: '3' } });
  });

  test('is valid by the schema that the OpenAPI Initiative publishes for 3.1', async () => {
    // The validator takes an input's own field of this name for a reference.
    const text = JSON.stringify(document).replaceAll('"$ref":{', '"ref":{');
    const specification = JSON.parse(text) as Record<string, unknown>;
    expect(await new Validator().validate(specification)).toEqual({ valid: true });
    // The validator can refuse.
    const broken = { ...specification, paths: { '/orders': { post: { responses: 7 } } } };
    expect(await new Validator().validate(broken)).toMatchObject({ valid: false });
  });

  test('has each route once, named after its operation', () => {
    const ids = Object.entries(paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, { operationId }]) => `${method} ${path} ${operationId}`),
    );
    expect(ids).toEqual([
      'post /orders orders.place',
      'get /orders orders.list',
      'post /orders/{id}/cancel orders.cancel',
      'post /orders/{id} orders.amend',
      // The same path to OpenAPI, whatever its parameter is called.
      'get /orders/{id} orders.tree',
      'post /orders/{id}/ship orders.ship',
      'get /find orders.search',
      'post /foreign orders.foreign',
      'get /kept orders.tree.2',
      'post /again/{sku} orders.place.2',
      'get /-/jobs/{jobId} plimsoll.job',
    ]);
  });

  test('splits an input into path, query string and body', () => {
    expect(paths['/orders']?.['get']?.parameters).toEqual([
      { name: 'limit', in: 'query', required: true, schema: { type: 'number' } },
      { name: 'skus', in: 'query', required: false, schema: { type: 'array', items: { type: 'string' } } },
    ]);
    expect(paths['/orders']?.['get']?.requestBody).toBeUndefined();
    expect(paths['/orders/{id}']?.['post']).toMatchObject({
      parameters: [
        { name: 'id', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } },
        {},
      ],
      requestBody: {
        required: true,
        content: {
          'application/json': {
            schema: {
              properties: { note: { type: 'string' }, urgent: { type: 'boolean', default: false } },
              required: ['note'],
            },
          },
        },
      },
    });
    expect(paths['/orders/{id}/cancel']?.['post']?.requestBody).toBeUndefined();
  });

  test('tells success, declared errors and problems apart by status', () => {
    const { responses } = paths['/orders']?.['post'] ?? {};
    expect(Object.keys(responses ?? {})).toEqual([
      '201',
      '400',
      '409',
      '410',
      '413',
      '415',
      '422',
      '503',
      '504',
      'default',
    ]);
    expect(JSON.stringify(responses?.['409'])).toContain('orders.place.errors.OutOfStock');
    expect(JSON.stringify(responses?.['409'])).toContain('orders.place.errors.odd_x2f_name');
    // A declared error with the status of a refusal leaves both possible.
    expect(JSON.stringify(responses?.['400'])).toMatch(/errors\.Late.*schemas\/Problem/);
    expect(document.components['schemas']?.['orders.place.errors.OutOfStock']).toMatchObject({
      properties: {
        type: { const: 'urn:plimsoll:operation:orders.place:OutOfStock' },
        code: { const: 'OutOfStock' },
      },
    });
    expect(paths['/orders/{id}/cancel']?.['post']?.responses['204']).toEqual({ description: 'Done.' });
    const shipping = paths['/orders/{id}/ship']?.['post']?.responses ?? {};
    expect(Object.keys(shipping)).toContain('202');
    expect(JSON.stringify(shipping)).not.toContain('Gone');
  });

  test('tells what is conditional, of routes whose answers may be kept and of no others', () => {
    const kept = document.paths['/kept']?.['get'];
    expect(kept?.parameters).toContainEqual({ $ref: '#/components/parameters/IfNoneMatch' });
    expect(kept?.responses['304']).toEqual({ $ref: '#/components/responses/NotModified' });
    for (const name of ['ETag', 'Cache-Control', 'Vary'])
      expect(kept?.responses['200']).toHaveProperty(['headers', name]);
    const plain = document.paths['/orders/{id}']?.['get'];
    expect(plain?.responses['304']).toBeUndefined();
    expect(plain?.responses['200']).not.toHaveProperty('headers');
  });

  test('keeps recursive schemas whole, wherever they stand', () => {
    expect(document.components['schemas']?.['orders.tree.output']).toMatchObject({
      properties: { children: { items: { $ref: '#/components/schemas/orders.tree.output' } } },
    });
    // Its `tree` parameter is a definition of the input's component.
    expect(JSON.stringify(paths['/orders/{id}']?.['get']?.parameters)).toContain(
      '#/components/schemas/orders.tree.input/$defs/',
    );
  });

  test('a property that is called like a keyword is left as it is', () => {
    expect(document.components['schemas']?.['orders.place.input']).toMatchObject({
      properties: { $ref: { type: 'string' }, at: {} },
    });
  });

  test('references in data stay data, and those under a property called like a keyword are found', () => {
    const odd = contract('odd', {
      keep: command({
        input: z.object({
          const: z.array(Tree),
          rest: z.object({ $ref: z.string() }).default({ $ref: '#/x' }),
        }),
      }),
    });
    const made = openApiDocument([route('/odd', odd.keep)]);
    expect(documentProblems({ ...made, components: {} }).length).toBeGreaterThan(0);
    const { properties } = made.components['schemas']!['odd.keep.input'] as {
      properties: { const: { items: { $ref: string } }; rest: { default: unknown } };
    };
    expect(properties.const.items.$ref).toMatch(/^#\/components\/schemas\/odd\.keep\.input\/\$defs\//);
    expect(properties.rest.default).toEqual({ $ref: '#/x' });
  });

  test('what a library cannot tell is anything, with a note', () => {
    expect(document.components['schemas']?.['orders.foreign.input']).toEqual({
      description: expect.stringContaining('bare') as string,
    });
    expect(document.components['schemas']?.['orders.foreign.output']).toEqual({
      description: expect.stringContaining('no JSON Schema') as string,
    });
  });

  test('the check finds a document that is not sound', () => {
    const broken = structuredClone(document) as unknown as {
      paths: Record<string, Record<string, { operationId: string; parameters: unknown[] }>>;
    };
    broken.paths['/orders']!['get']!.operationId = 'orders.place';
    broken.paths['/orders/{id}']!['get']!.parameters = [{ $ref: '#/components/schemas/nowhere' }];
    expect(documentProblems(broken as unknown as OpenApiDocument)).toEqual([
      'operationId orders.place is there twice',
      'GET /orders/{id}: the path has {id}, its parameters have none',
      '#/components/schemas/nowhere leads nowhere',
    ]);
  });
});

describe('over HTTP', () => {
  test('/-/openapi.json and /-/docs answer; the page loads and runs nothing', async () => {
    const gateway = await start({ title: '<b>"Shop"</b>' });
    const document = (await (await fetch(`${gateway.url}/-/openapi.json`)).json()) as OpenApiDocument;
    expect(documentProblems(document)).toEqual([]);
    const page = await fetch(`${gateway.url}/-/docs`);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page.headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; style-src 'sha256-[^']+'; /,
    );
    const html = await page.text();
    expect(html).toContain('&lt;b&gt;&quot;Shop&quot;&lt;/b&gt;');
    expect(html).not.toMatch(/<script|<link|<img|https?:\/\/|style=/);
    for (const id of ['orders.place', 'orders.list', 'orders.ship', 'plimsoll.job'])
      expect(html).toContain(`id="${id}"`);
    // Every link leads somewhere on the page.
    const links = [...html.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id);
    expect(links.length).toBeGreaterThan(10);
    for (const id of links) expect(html).toContain(`id="${id}"`);
  });

  test('in production they are there only when asked for', async () => {
    vi.stubEnv('NODE_ENV', 'production');
    const hidden = await start();
    expect((await fetch(`${hidden.url}/-/openapi.json`)).status).toBe(404);
    expect((await fetch(`${hidden.url}/-/docs`)).status).toBe(404);
    const shown = await start({ expose: true });
    expect((await fetch(`${shown.url}/-/openapi.json`)).status).toBe(200);
    vi.unstubAllEnvs();
    const off = await start({ expose: false });
    expect((await fetch(`${off.url}/-/docs`)).status).toBe(404);
  });
});
