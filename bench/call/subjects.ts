import { CommandBus, CommandHandler, CqrsModule } from '@nestjs/cqrs';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import 'reflect-metadata';
import fastify from 'fastify';
import { ServiceBroker, type BrokerOptions } from 'moleculer';
import { createApp, contract, module, plan, query } from 'plimsoll';
import { startCluster } from '@plimsoll/embedded';
import { Pool } from 'undici';
import { z } from 'zod';

export interface Subject {
  readonly name: string;
  readonly setting: string;
  readonly call: (value: number) => Promise<number>;
}

const double = (value: number): number => value * 2 + 1;

/** Everyone who answers the same question, each in its own way of crossing a boundary in this process. */
export async function createBoundary(
  say: (line: string) => void,
): Promise<{ readonly subjects: readonly Subject[]; close(): Promise<void> }> {
  const closing: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const end of closing.splice(0).toReversed()) await end();
  };
  try {
    const subjects = [
      plain(),
      await moleculer({ name: 'moleculer', setting: 'no logger, no metrics', options: {} }),
      await moleculer({
        name: 'moleculer, measured',
        setting: 'metrics on, spans of 10 %, without reporters and exporters',
        options: {
          metrics: { enabled: true, reporter: [] },
          tracing: { enabled: true, exporter: [], sampling: { rate: 0.1 } },
        },
      }),
      await plimsoll(),
      await nest(),
      await http(),
    ];
    return { subjects, close };
  } catch (error) {
    await close();
    throw error;
  }

  function plain(): Subject {
    const call = async (value: number): Promise<number> => double(value);
    return { name: 'plain async', setting: 'a function, no validation', call };
  }

  async function moleculer({
    name,
    setting,
    options,
  }: {
    readonly name: string;
    readonly setting: string;
    readonly options: BrokerOptions;
  }): Promise<Subject> {
    const broker = new ServiceBroker({ logger: false, validator: true, ...options });
    broker.createService({
      name: 'math',
      actions: {
        double: {
          params: { value: { type: 'number', integer: true } },
          handler: async ({ params }: { readonly params: { readonly value: number } }) => ({
            value: double(params.value),
          }),
        },
      },
    });
    await broker.start();
    closing.push(() => broker.stop());
    const refused = await broker.call('math.double', { value: 'x' }).catch(() => 'refused');
    if (refused !== 'refused') throw new Error('moleculer does not validate, so the comparison is not fair');
    return {
      name,
      setting: `local call, its validator on the input (it validates no output), ${setting}`,
      call: async (value) =>
        (await broker.call<{ value: number }, { value: number }>('math.double', { value })).value,
    };
  }

  async function plimsoll(): Promise<Subject> {
    say('bench: starting a PostgreSQL, which the call does not touch');
    const cluster = await startCluster();
    closing.push(() => cluster.stop());
    const math = contract('math', {
      double: query({
        input: z.object({ value: z.number().int() }),
        output: z.object({ value: z.number().int() }),
      }),
    });
    const mathModule = module(math, {
      owns: { schema: 'math' },
      queries: { double: async ({ value }) => ({ value: double(value) }) },
    });
    const app = createApp(
      plan({
        name: 'bench',
        modules: [mathModule],
        expectedPeak: { requestsPerSecond: 1 },
        objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
      }),
      { databaseUrl: cluster.primary.url, listen: false, strictCalls: false, jsonCalls: false },
    );
    await app.start();
    closing.push(() => app.stop());
    return {
      name: 'plimsoll',
      setting:
        'app.call, zod on input and output, deadline, context and telemetry on (spans of 10 %), production settings',
      call: async (value) => (await app.call(math.double, { value })).value,
    };
  }

  async function nest(): Promise<Subject> {
    class Double {
      readonly value: number;
      constructor(value: number) {
        this.value = value;
      }
    }
    class DoubleHandler {
      async execute({ value }: Double): Promise<{ value: number }> {
        return { value: double(value) };
      }
    }
    CommandHandler(Double)(DoubleHandler);
    class AppModule {}
    Module({ imports: [CqrsModule.forRoot()], providers: [DoubleHandler] })(AppModule);
    const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
    closing.push(() => app.close());
    await app.init();
    const bus = app.get(CommandBus);
    return {
      name: 'nest cqrs',
      setting: 'CommandBus, which validates nothing',
      call: async (value) => (await bus.execute<Double, { value: number }>(new Double(value))).value,
    };
  }

  async function http(): Promise<Subject> {
    const server = fastify({ logger: false });
    const input = z.object({ value: z.number().int() });
    server.post('/double', async (request) => ({ value: double(input.parse(request.body).value) }));
    const origin = await server.listen({ host: '127.0.0.1', port: 0 });
    closing.push(() => server.close());
    const pool = new Pool(origin, { connections: 1 });
    closing.push(() => pool.close());
    const headers = { 'content-type': 'application/json' };
    return {
      name: 'http loopback',
      setting: 'Fastify and undici in this process, one kept-alive connection, zod on the input',
      async call(value) {
        const { body } = await pool.request({
          path: '/double',
          method: 'POST',
          headers,
          body: JSON.stringify({ value }),
        });
        return ((await body.json()) as { readonly value: number }).value;
      },
    };
  }
}
