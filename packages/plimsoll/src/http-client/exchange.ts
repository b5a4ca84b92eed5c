import type { Dispatcher } from 'undici';

/**
 * What a server can know of a request. `no`: nothing of it was written to a connection. `maybe`: it was, and no
 * answer came. `yes`: it answered.
 */
export type Sent = 'no' | 'maybe' | 'yes';

export type ReceivedHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface ReceivedAnswer {
  readonly status: number;
  readonly headers: ReceivedHeaders;
  readonly body: Uint8Array;
  /** The body is larger than allowed; what there is of it is its beginning. */
  readonly isCut: boolean;
}

/** What became of a request so far, over all of its attempts. */
export class Progress {
  attempts = 0;
  #sent: Sent = 'no';

  get sent(): Sent {
    return this.#sent;
  }

  /** What one attempt has told the server, another one cannot take back. */
  written(): void {
    if (this.#sent === 'no') this.#sent = 'maybe';
  }

  answered(): void {
    this.#sent = 'yes';
  }
}

/** An attempt that failed, as guards look at it: by `status` and `headers`, or by the code of the cause. */
export class AttemptFailure extends Error {
  override readonly name = 'AttemptFailure';
  /** Of an answer that is a failure. */
  readonly status: number | undefined;
  readonly headers: ReceivedHeaders | undefined;
  /** The beginning of its body. */
  readonly preview: string;

  constructor(message: string, answer: ReceivedAnswer | undefined, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = answer?.status;
    this.headers = answer?.headers;
    this.preview = answer === undefined ? '' : previewOf(answer.body);
  }
}

const previewBytes = 1_024;

export function previewOf(body: Uint8Array): string {
  return new TextDecoder().decode(body.subarray(0, previewBytes));
}

/** Answers that say nothing of the request but of the server: it cannot now. */
export const isFailure = (status: number): boolean => status >= 500 || status === 408 || status === 429;

const noBytes = new Uint8Array(0);

/** One attempt of a request, from the wait for a connection to the last byte of the answer. */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly answer: Promise<ReceivedAnswer>;
  readonly #what: string;
  readonly #maxBytes: number;
  readonly #isHead: boolean;
  readonly #signal: AbortSignal;
  readonly #progress: Progress;
  readonly #resolve: (answer: ReceivedAnswer) => void;
  readonly #reject: (reason: Error) => void;
  #settled = false;
  #controller: Dispatcher.DispatchController | undefined;
  #status = 0;
  #headers: ReceivedHeaders = {};
  #chunks: Uint8Array[] = [];
  #length = 0;

  constructor(
    what: string,
    { isHead, maxBytes }: { readonly isHead: boolean; readonly maxBytes: number },
    signal: AbortSignal,
    progress: Progress,
  ) {
    const { promise, resolve, reject } = Promise.withResolvers<ReceivedAnswer>();
    this.answer = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#what = what;
    this.#isHead = isHead;
    this.#maxBytes = maxBytes;
    this.#signal = signal;
    this.#progress = progress;
    signal.addEventListener('abort', this.#onAbort);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // A throw leaves the connection to others; an abort would close it.
    if (this.#settled) throw new Error('nobody waits any more');
    this.#controller = controller;
    this.#progress.written();
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: ReceivedHeaders,
  ): void {
    // 103, Early Hints: a proxy may say it before it has asked anybody.
    if (status < 200) return;
    this.#progress.answered();
    this.#status = status;
    this.#headers = headers;
    const length = this.#isHead || status === 304 ? 0 : Number(headers['content-length'] ?? 0);
    if (length > this.#maxBytes && !isFailure(status)) this.#cut();
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Uint8Array): void {
    if (this.#settled) return;
    this.#length += chunk.length;
    if (this.#length > this.#maxBytes) return this.#cut();
    // Of a failure only its beginning is of interest; the rest is read so that the connection can be kept.
    if (isFailure(this.#status) && this.#length - chunk.length >= previewBytes) return;
    this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    this.#end(false);
  }

  onResponseError(_controller: unknown, error: Error): void {
    const lost = this.#status === 0 ? 'no answer' : `the rest of the answer with ${this.#status} was lost`;
    this.#fail(new AttemptFailure(`${this.#what}: ${lost} (${codeOf(error)})`, undefined, error));
  }

  #cut(): void {
    this.#end(true);
    this.#controller?.abort(new Error('the answer is too large'));
  }

  #end(isCut: boolean): void {
    if (!this.#settle()) return;
    const [first = noBytes, ...more] = this.#chunks;
    const body = more.length === 0 ? first : Buffer.concat(this.#chunks);
    const answer = { status: this.#status, headers: this.#headers, body, isCut };
    if (isFailure(answer.status))
      this.#reject(new AttemptFailure(`${this.#what}: answered ${answer.status}`, answer));
    else this.#resolve(answer);
  }

  readonly #onAbort = (): void => {
    const reason: unknown = this.#signal.reason;
    this.#fail(reason instanceof Error ? reason : new Error('cancelled', { cause: reason }));
    this.#controller?.abort(new Error('nobody waits any more'));
  };

  #fail(error: Error): void {
    if (this.#settle()) this.#reject(error);
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#signal.removeEventListener('abort', this.#onAbort);
    return true;
  }
}

/** `ECONNREFUSED`, `UND_ERR_SOCKET`; the name where there is none. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}
