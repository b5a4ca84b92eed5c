import type { JsonSchema } from './json-schema.ts';

export interface OpenApiOperation {
  readonly operationId: string;
  readonly summary: string;
  readonly tags: readonly string[];
  readonly parameters: readonly JsonSchema[];
  readonly requestBody?: JsonSchema;
  readonly responses: Readonly<Record<string, JsonSchema>>;
}

const text = { type: 'string' } as const;
const anyProblem = { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } };

/** Of an answer that may be kept. Fields for shared caches are not there: those take them off. */
export const cachedHeaders: JsonSchema = {
  ETag: { description: 'For `If-None-Match`.', schema: text },
  'Cache-Control': { description: 'How long a browser may keep it.', schema: text },
  Vary: { description: 'Fields of the request that it depends on.', schema: text },
};

/** What every document has, whatever its routes. */
export const fixedComponents: Readonly<
  Record<'schemas' | 'parameters' | 'responses', Record<string, JsonSchema>>
> = {
  schemas: {
    Problem: {
      description: 'RFC 9457 problem details.',
      type: 'object',
      properties: {
        type: text,
        title: text,
        status: { type: 'integer', minimum: 400, maximum: 599 },
        detail: text,
        code: { ...text, description: 'Stable; compare this, never a text.' },
        correlationId: { ...text, description: 'Names the request in the logs.' },
        data: {},
      },
      required: ['type', 'title', 'status', 'code', 'correlationId'],
    },
    AcceptedJob: {
      type: 'object',
      properties: { jobId: { ...text, format: 'uuid' } },
      required: ['jobId'],
    },
    JobStatus: {
      type: 'object',
      properties: {
        jobId: { ...text, format: 'uuid' },
        name: { ...text, description: 'The operation that it runs.' },
        state: { enum: ['queued', 'running', 'done', 'failed', 'cancelled'] },
        acceptedAt: { ...text, format: 'date-time' },
        attempts: { type: 'integer', description: 'Tries begun so far; absent when it has ended.' },
        maxAttempts: { type: 'integer' },
        lastError: {
          type: 'object',
          properties: { code: text, message: text },
          required: ['code', 'message'],
        },
        progress: { description: 'What it told last of how far it is.' },
        result: { description: 'Of one that is done and whose result is kept.' },
        reason: { ...text, description: 'Why it was cancelled.' },
      },
      required: ['jobId', 'name', 'state', 'acceptedAt'],
    },
  },
  parameters: {
    IdempotencyKey: {
      name: 'Idempotency-Key',
      in: 'header',
      required: false,
      description: 'Names this piece of work: send the same one when sending the same work again.',
      schema: { ...text, minLength: 1, maxLength: 255 },
    },
    IfNoneMatch: {
      name: 'If-None-Match',
      in: 'header',
      required: false,
      description: 'The `ETag` of what you have.',
      schema: text,
    },
  },
  responses: {
    Accepted: {
      description: 'Accepted; it runs later.',
      headers: {
        Location: { description: 'Where its state is told.', schema: { ...text, format: 'uri-reference' } },
      },
      content: { 'application/json': { schema: { $ref: '#/components/schemas/AcceptedJob' } } },
    },
    NotModified: { description: 'What you have is what there is.', headers: cachedHeaders },
  },
};

/** `GET /-/jobs/{jobId}`. */
export const jobPath: Readonly<Record<'get', OpenApiOperation>> = {
  get: {
    operationId: 'plimsoll.job',
    summary: 'State of an accepted job',
    tags: [],
    parameters: [{ name: 'jobId', in: 'path', required: true, schema: { ...text, format: 'uuid' } }],
    responses: {
      '200': {
        description: 'Its state.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/JobStatus' } } },
      },
      '404': { description: 'No such job was accepted, or its receipt was deleted.', content: anyProblem },
      default: { description: 'Any other problem.', content: anyProblem },
    },
  },
};
