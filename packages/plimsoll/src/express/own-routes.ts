import type { IncomingMessage, ServerResponse } from 'node:http';
import express from 'express';
import { isLocal } from '../gateway/own-routes.ts';

/** What the routes tell of; an app, started with `listen: false`. */
export interface Measured {
  telemetry(lastMs?: number): Promise<unknown>;
  metrics(): Promise<string>;
}

type Next = (error?: unknown) => void;
type Handler = (request: IncomingMessage, response: ServerResponse, next: Next) => void;

/**
 * `/telemetry` and `/metrics` of an app, for `plimsoll load`, the doctor and Prometheus: `site.use('/-',
 * plimsollRoutes(app))` before routes of yours that answer everything. As in the gateway only this machine is
 * answered, and nothing that came through a proxy; for all others there is no such route.
 */
export function plimsollRoutes(app: Measured): Handler {
  const router = express.Router();
  router.use((request, _response, next) => {
    // `router` leaves this router: the site answers as it does for any other path it does not know.
    next(isLocal(request) ? undefined : 'router');
  });
  router.get('/telemetry', (request, response, next) => {
    const asked = Number(request.query['lastMs']);
    app.telemetry(asked > 0 && asked < Infinity ? asked : 10_000).then((told) => response.json(told), next);
  });
  router.get('/metrics', (_request, response, next) => {
    app.metrics().then((text) => {
      response.type('text/plain; version=0.0.4; charset=utf-8').send(text);
    }, next);
  });
  return router as unknown as Handler;
}
