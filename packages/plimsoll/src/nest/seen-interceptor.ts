import type { IncomingMessage } from 'node:http';
import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { arrivalOf } from '../express/arrival.ts';

/** After the guards, which find out who asks, and before anything reads: what the same user has seen elsewhere. */
export class SeenInterceptor implements NestInterceptor {
  async intercept(context: ExecutionContext, next: CallHandler): Promise<ReturnType<CallHandler['handle']>> {
    if (context.getType() === 'http') {
      const request = context
        .switchToHttp()
        .getRequest<IncomingMessage & { readonly raw?: IncomingMessage }>();
      await arrivalOf(request.raw ?? request)?.load();
    }
    return next.handle();
  }
}
