import 'reflect-metadata';
import { Controller, Get, Module, Query } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import pg from 'pg';
import { Hello, ready, three, Three } from './serve.ts';

const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 10 });

class BenchController {
  hello(query: unknown): unknown {
    return Hello.output.parse({ hello: Hello.input.parse(query).name });
  }
  three(query: unknown): Promise<unknown> {
    return three(pool, Three.input.parse(query).id);
  }
}
// Decorators applied by hand, because Node strips types and knows no decorators.
for (const name of ['hello', 'three'] as const) {
  const descriptor = Object.getOwnPropertyDescriptor(BenchController.prototype, name);
  if (descriptor === undefined) throw new Error(`no method ${name}`);
  Get(name)(BenchController.prototype, name, descriptor);
  Query()(BenchController.prototype, name, 0);
}
Controller()(BenchController);
class AppModule {}
Module({ controllers: [BenchController] })(AppModule);

const app = await NestFactory.create(AppModule, new FastifyAdapter(), { logger: false });
await app.listen(0, '127.0.0.1');
ready(await app.getUrl());
