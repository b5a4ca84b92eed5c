import type { FastifyInstance, FastifyRequest } from 'fastify';
import { sharedCacheFields } from '../http-cache/fields.ts';
import type { Seen } from '../kernel/seen.ts';
import type { SeenExchange, TakenSeen } from './seen-exchange.ts';
import type { Facts, SharedVisit } from './shared-seen.ts';

/** What is known of a request's token once its route has run; undefined where none did. */
export interface RequestSeen {
  readonly seen: Seen;
  readonly taken: TakenSeen | undefined;
  /** What was known when it came. */
  readonly before: Facts;
  /** Set once it is known whose request it is, where there is a store. */
  visit: SharedVisit | undefined;
}

/** Gives every answer of a route its token, that of a failure too: what it did may have been committed. */
export function answerWithSeen(
  app: FastifyInstance,
  exchange: SeenExchange,
  seenOf: (request: FastifyRequest) => RequestSeen | undefined,
): void {
  app.addHook('onSend', (request, reply, payload, done) => {
    const known = seenOf(request);
    if (known === undefined || (known.taken === undefined && known.seen.isEmpty)) {
      done(null, payload);
      return;
    }
    const { seen, taken, visit } = known;
    const write = (): void => {
      const isHttps = request.protocol === 'https';
      const answer = exchange.answer(seen, taken, isHttps, reply.getHeader('cache-control'), visit);
      if (answer !== undefined) {
        for (const field of sharedCacheFields) reply.removeHeader(field);
        void reply.headers(answer.headers);
      }
      if (answer?.cookie !== undefined) void reply.header('set-cookie', answer.cookie);
      done(null, payload);
    };
    if (visit !== undefined || exchange.hasNews(seen, taken))
      void exchange.beforeAnswer(seen, taken, visit).then(write);
    else write();
  });
}
