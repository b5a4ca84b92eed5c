import { openApiDocument } from 'plimsoll/gateway';
import { expect, test } from 'vitest';
import { routes } from './routes.ts';

test('the OpenAPI document of the shop has every route and no reference that leads nowhere', () => {
  const document = openApiDocument(routes, { title: 'shop', version: '1' });
  const operations = Object.values(document.paths).flatMap((item) => Object.values(item));
  const ids = operations.map(({ operationId }) => operationId);
  expect(ids.toSorted()).toEqual(routes.map(({ operation }) => operation.id).toSorted());
  for (const { responses } of operations) expect(Object.keys(responses)[0]).toMatch(/^20[014]$/);

  const text = JSON.stringify(document);
  const references = [...text.matchAll(/"\$ref":"#\/components\/(\w+)\/([\w.-]+)/g)];
  expect(references.length).toBeGreaterThan(routes.length);
  for (const [, kind = '', name = ''] of references) expect(document.components[kind]).toHaveProperty([name]);
  // Every schema of the shop is known to its library.
  expect(text).not.toContain('gives no JSON Schema');
  expect(document.paths['/products/{sku}/stock']?.['get']?.parameters).toMatchObject([
    { name: 'sku', in: 'path', required: true, schema: { type: 'string' } },
  ]);
});
