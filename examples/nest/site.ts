// A NestJS site without a compiler: `DATABASE_URL=… node examples/nest/site.ts`. Node strips types and knows no
// decorators, so this file calls them. `decorators.pg.test.ts` has the site as a compiler takes it.
import {
  Body,
  ConflictException,
  Controller,
  Inject,
  Module,
  Post,
  type INestApplication,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { App } from 'plimsoll';
import { PlimsollApp, PlimsollModule } from 'plimsoll/nest';
import { greetings, greetingsPlan } from './greetings.ts';

class GreetingsController {
  readonly #app: App;

  constructor(app: App) {
    this.#app = app;
  }

  async order(body: { name: string }): Promise<object> {
    const outcome = await this.#app.call(greetings.order, body);
    if (!outcome.ok) throw new ConflictException(outcome.data);
    return outcome.value;
  }
}
Inject(PlimsollApp)(GreetingsController, undefined, 0);
const { prototype } = GreetingsController;
Post()(prototype, 'order', Object.getOwnPropertyDescriptor(prototype, 'order') ?? {});
Body()(prototype, 'order', 0);
Controller('greetings')(GreetingsController);

export async function createSite(databaseUrl: string): Promise<INestApplication> {
  class SiteModule {}
  Module({
    imports: [PlimsollModule.forRoot({ plan: greetingsPlan, databaseUrl })],
    controllers: [GreetingsController],
  })(SiteModule);
  const site = await NestFactory.create(SiteModule, { logger: ['warn', 'error'] });
  return site.enableShutdownHooks();
}

if (import.meta.main) {
  const site = await createSite(process.env['DATABASE_URL'] ?? '');
  await site.listen(process.env['PORT'] ?? 3000, '127.0.0.1');
  console.log(await site.getUrl());
}
