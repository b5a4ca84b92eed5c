import {
  Body,
  ConflictException,
  Controller,
  Get,
  Injectable,
  Module,
  Param,
  Post,
  type INestApplication,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
import { currentContext, sql } from 'plimsoll';
import { PlimsollApp, PlimsollDatabase, PlimsollDatabaseModule, PlimsollModule } from 'plimsoll/nest';
import { greetings, greetingsPlan } from './greetings.ts';

// #region controller
@Controller('greetings')
class GreetingsController {
  readonly #app: PlimsollApp;

  constructor(app: PlimsollApp) {
    this.#app = app;
  }

  @Post()
  async order(@Body() body: { name: string }): Promise<object> {
    const outcome = await this.#app.call(greetings.order, body); // { ok: true, value } or the declared error
    if (!outcome.ok) throw new ConflictException(outcome.data); // `Taken`, with the name: { name: string }
    return outcome.value;
  }

  @Get(':name')
  async greet(@Param('name') name: string): Promise<object> {
    const { text } = await this.#app.call(greetings.greet, { name });
    return { text, correlationId: currentContext()?.correlationId };
  }
}
// #endregion

function createSite(databaseUrl: string): Promise<INestApplication> {
  // #region module
  type Asked = { readonly headers: { readonly 'x-user'?: string } };

  @Module({
    imports: [
      PlimsollModule.forRoot({
        plan: greetingsPlan,
        databaseUrl,
        caller: ({ headers }: Asked) => ({ principal: headers['x-user'] ?? 'nobody' }),
      }),
    ],
    controllers: [GreetingsController],
  })
  class SiteModule {}
  // #endregion
  return NestFactory.create(SiteModule, new FastifyAdapter(), { logger: false, abortOnError: false });
}

test('a controller calls operations; declared errors are its to answer, input errors are problems', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const site = await createSite(server.url);
  try {
    await site.listen(0, '127.0.0.1');
    const url = await site.getUrl();
    const order = async (body: { readonly name?: string }): Promise<unknown[]> => {
      const answer = await fetch(`${url}/greetings`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'idempotency-key': `for ${body.name}`,
          'x-user': 'grace',
        },
        body: JSON.stringify(body),
      });
      return [answer.status, await answer.json()];
    };
    expect(await order({ name: 'grace' })).toEqual([201, { name: 'grace', key: 'for grace', by: 'grace' }]);
    expect(await order({ name: 'ada' })).toEqual([409, { name: 'ada' }]);
    expect(await order({})).toMatchObject([400, { code: 'PL_INPUT_INVALID' }]);
    const greeted = await fetch(`${url}/greetings/alan`, { headers: { 'x-correlation-id': 'visit-1' } });
    expect(await greeted.json()).toEqual({ text: 'hello alan', correlationId: 'visit-1' });
  } finally {
    await site.close();
    await server.drop();
  }
});

test('a plain service with only the database', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const configuration = { databaseUrl: server.url };
  // #region database
  @Injectable()
  class OrdersService {
    readonly #database: PlimsollDatabase;

    constructor(database: PlimsollDatabase) {
      this.#database = database;
    }

    place(sku: string): Promise<{ id: number }> {
      return this.#database.transaction(async (tx) => {
        const order = await tx.one<{ id: number }>(
          sql`insert into orders (sku) values (${sku}) returning id`,
        );
        await tx.execute(sql`update stock set left_over = left_over - 1 where sku = ${sku}`);
        return order;
      });
    }
  }

  @Module({
    imports: [
      PlimsollDatabaseModule.forRootAsync({ useFactory: () => ({ url: configuration.databaseUrl }) }),
    ],
    providers: [OrdersService],
  })
  class OrdersModule {}
  // #endregion
  const context = await NestFactory.createApplicationContext(OrdersModule, {
    logger: false,
    abortOnError: false,
  });
  try {
    const database = context.get(PlimsollDatabase);
    await database.execute(sql`create table orders (id bigint generated always as identity, sku text)`);
    await database.execute(sql`create table stock as select 'tea' as sku, 2 as left_over`);
    expect(await context.get(OrdersService).place('tea')).toEqual({ id: 1 });
    expect(await database.one(sql`select left_over from stock`)).toEqual({ left_over: 1 });
  } finally {
    await context.close();
    await server.drop();
  }
});
