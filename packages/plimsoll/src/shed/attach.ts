import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { FastifyPluginCallback } from 'fastify';
import type { Refusal } from './refusal.ts';
import type { Admission, Shedder } from './shedder.ts';

/** Puts the shedder before a listener of `node:http`: what is refused never reaches it. */
export function shedListener(shedder: Shedder, listener: RequestListener): RequestListener {
  return (request, response) => {
    if (letThrough(shedder, request, response)) listener(request, response);
  };
}

/** Express or Connect middleware; put it before all others, the parsers of bodies above all. */
export function shedExpress(
  shedder: Shedder,
): (request: IncomingMessage, response: ServerResponse, next: () => void) => void {
  return (request, response, next) => {
    if (letThrough(shedder, request, response)) next();
  };
}

const seen = Symbol('plimsoll.shed');
interface Seen {
  [seen]?: true;
}

/**
 * Fastify plugin. It goes before Fastify itself, so that what is refused costs no routing, no hook and no body; what
 * comes another way (`inject`, the second server of `localhost`) is met by an `onRequest` hook.
 */
export function shedFastify(shedder: Shedder): FastifyPluginCallback {
  const plugin: FastifyPluginCallback = (app, _options, done) => {
    const server = app.server as Server;
    const listeners = server.listeners('request') as RequestListener[];
    server.removeAllListeners('request');
    server.on('request', (request, response) => {
      (request as Seen)[seen] = true;
      if (!letThrough(shedder, request, response)) return;
      for (const listener of listeners) listener.call(server, request, response);
    });
    app.addHook('onRequest', (request, reply, next) => {
      if ((request.raw as Seen)[seen] === true || letThrough(shedder, request.raw, reply.raw)) next();
      else void reply.hijack();
    });
    done();
  };
  // For the whole app, wherever it is registered.
  return Object.assign(plugin, { [Symbol.for('skip-override')]: true });
}

function letThrough(shedder: Shedder, request: IncomingMessage, response: ServerResponse): boolean {
  const decision = shedder.admit(request);
  if (!decision.admitted) {
    answerRefusal(response, decision);
    return false;
  }
  // `close` comes exactly once, also when the client goes away before the answer.
  response.once('close', () => settle(decision, response));
  return true;
}

/** Answers 503 and nothing else; the body of the request is thrown away unread. */
export function answerRefusal(response: ServerResponse, { headers, body }: Refusal): void {
  response.writeHead(503, headers);
  response.end(body);
}

function settle(admission: Admission, { statusCode, writableFinished }: ServerResponse): void {
  if (!writableFinished) admission.abandon();
  else if (statusCode < 400) admission.succeed();
  else if (statusCode === 408 || statusCode === 504) admission.drop();
  else admission.ignore();
}
