import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { PlimsollError } from '../kernel/errors.ts';
import type { JobStatus } from '../jobs/receipt.ts';
import { docsPage, docsPolicy } from './docs-page.ts';
import { openApiDocument, type OpenApiOptions } from './openapi.ts';
import type { Route } from './route.ts';

export interface ExposedOpenApi extends OpenApiOptions {
  /** Whether `/-/openapi.json` and `/-/docs` answer. Default: unless NODE_ENV is `production`. */
  readonly expose?: boolean;
}

export interface OwnRoutes {
  readonly routes: readonly Route[];
  readonly draining: () => boolean;
  readonly ready: () => Promise<void>;
  readonly telemetry?: ((lastMs: number) => Promise<unknown>) | undefined;
  readonly metrics?: (() => Promise<string>) | undefined;
  readonly openapi?: ExposedOpenApi | undefined;
  readonly jobStatus?: ((jobId: string) => Promise<JobStatus | undefined>) | undefined;
}

const loopback = new Set(['127.0.0.1', '::1', '::ffff:127.0.0.1']);

/** Whether this machine asks, and no proxy for somebody else. */
export function isLocal({ headers, socket }: Pick<IncomingMessage, 'headers' | 'socket'>): boolean {
  return (
    headers['x-forwarded-for'] === undefined &&
    headers.forwarded === undefined &&
    loopback.has(socket.remoteAddress ?? '')
  );
}

/** What watches the process: not counted as under way, and not refused by the limit. */
export const watching: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/-/telemetry', '/-/metrics']);

/** The paths that are the gateway's own; returns them. */
export function addOwnRoutes(app: FastifyInstance, own: OwnRoutes): readonly string[] {
  const paths = ['/healthz', '/readyz'];
  app.get('/healthz', () => ({ status: 'ok' }));
  app.get('/readyz', async () => {
    if (own.draining()) throw new PlimsollError('PL_DRAINING', 'the process is shutting down');
    await own.ready();
    return { status: 'ready' };
  });

  const { telemetry, metrics, jobStatus } = own;
  if (telemetry !== undefined) {
    // Not among the paths: whoever may not see it is told that there is none.
    app.get('/-/telemetry', (request, reply) => {
      const { lastMs } = request.query as { lastMs?: string };
      if (!isLocal(request)) return reply.callNotFound();
      const asked = Number(lastMs);
      return telemetry(asked > 0 && asked < Infinity ? asked : 10_000);
    });
  }

  if (metrics !== undefined) {
    app.get('/-/metrics', async (request, reply) => {
      if (!isLocal(request)) return reply.callNotFound();
      void reply.type('text/plain; version=0.0.4; charset=utf-8');
      return metrics();
    });
  }

  if (jobStatus !== undefined) {
    paths.push('/-/jobs/:jobId');
    app.get('/-/jobs/:jobId', async (request, reply) => {
      const { jobId } = request.params as { readonly jobId: string };
      const status = await jobStatus(jobId);
      if (status === undefined)
        throw new PlimsollError(
          'PL_JOB_UNKNOWN',
          `no job ${jobId} was accepted here, or its receipt was deleted`,
        );
      void reply.header('cache-control', 'no-store');
      return status;
    });
  }

  const { expose = process.env['NODE_ENV'] !== 'production', ...described } = own.openapi ?? {};
  if (expose) {
    paths.push('/-/openapi.json', '/-/docs');
    // Made when first asked for: most processes never are.
    let document: ReturnType<typeof openApiDocument> | undefined;
    const made = (): ReturnType<typeof openApiDocument> =>
      (document ??= openApiDocument(own.routes, described));
    app.get('/-/openapi.json', () => made());
    app.get('/-/docs', (_request, reply) =>
      reply
        .type('text/html; charset=utf-8')
        .header('content-security-policy', docsPolicy)
        .send(docsPage(made())),
    );
  }
  return paths;
}
