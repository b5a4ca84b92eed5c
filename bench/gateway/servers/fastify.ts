import fastify from 'fastify';
import pg from 'pg';
import { Hello, ready, three, Three } from './serve.ts';

const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 10 });
const app = fastify({ logger: false });
app.get('/hello', async (request) => Hello.output.parse({ hello: Hello.input.parse(request.query).name }));
app.get('/three', async (request) => three(pool, Three.input.parse(request.query).id));
ready(await app.listen({ host: '127.0.0.1', port: 0 }));
