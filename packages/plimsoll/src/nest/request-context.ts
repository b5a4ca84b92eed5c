import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BeforeApplicationShutdown } from '@nestjs/common';
import type { AbstractHttpAdapter, HttpAdapterHost } from '@nestjs/core';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { arrive, type ContextOptions } from '../express/arrival.ts';
import { expressPattern } from '../express/context.ts';
import { runInContext } from '../kernel/context.ts';

/** Around every request of the Nest app that the host belongs to; nothing where there is no HTTP. */
export function addRequestContext(host: HttpAdapterHost, options: ContextOptions): BeforeApplicationShutdown {
  const open = new Set<ServerResponse>();
  // Set when Nest begins to shut down.
  let ending = false;
  function enter(request: IncomingMessage, response: ServerResponse, next: () => void): void {
    response.shouldKeepAlive &&= !ending;
    open.add(response);
    response.once('close', () => open.delete(response));
    runInContext(arrive(request, response, options, patternOf).context, () => next());
  }
  // Also where the adapter comes after the modules, as in a testing module. A context without HTTP says null.
  host.init$.subscribe(() => {
    const adapter = host.httpAdapter as AbstractHttpAdapter | null;
    if (adapter === null) return;
    // Not as middleware of a module: that runs after the body parser, and not for what no controller answers.
    adapter.use(enter);
    if (adapter.getType() !== 'fastify') return;
    adapter.getInstance<FastifyInstance>().addHook('onRequest', (request, reply, done) => {
      // Guards and handlers get, and change, this one and not the raw one.
      arrive(request.raw, reply.raw, options, patternOf).request = request;
      done();
    });
  });
  return {
    /** Else the server would wait for the client to let go of its connection: Fastify's default is 72 seconds. */
    beforeApplicationShutdown() {
      ending = true;
      for (const response of open) response.shouldKeepAlive = false;
    },
  };
}

function patternOf(request: object): string | undefined {
  const { routeOptions } = request as Partial<FastifyRequest>;
  return routeOptions === undefined ? expressPattern(request) : routeOptions.url;
}
