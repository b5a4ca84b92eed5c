import { createRequire } from 'node:module';
import { getNodeAutoInstrumentations } from '@opentelemetry/auto-instrumentations-node';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { FastifyOtelInstrumentation } from '@fastify/otel';
import type { FastifyInstance } from 'fastify';
import type pg from 'pg';
import { Hello, ready, three, Three } from './serve.ts';

process.env['OTEL_METRICS_EXPORTER'] = 'otlp';
const onFastify = new FastifyOtelInstrumentation({ registerOnInitialization: true });
const sdk = new NodeSDK({ instrumentations: [getNodeAutoInstrumentations(), onFastify] });
sdk.start();

// Only what is loaded by `require` after the start is instrumented.
const load = createRequire(import.meta.url);
const { Pool } = load('pg') as typeof pg;
const fastify = load('fastify') as (options: { readonly logger: boolean }) => FastifyInstance;

const pool = new Pool({ connectionString: process.env['DATABASE_URL'], max: 10 });
const app = fastify({ logger: true });
app.get('/hello', async (request) => Hello.output.parse({ hello: Hello.input.parse(request.query).name }));
app.get('/three', async (request) => three(pool, Three.input.parse(request.query).id));
ready(await app.listen({ host: '127.0.0.1', port: 0 }));
